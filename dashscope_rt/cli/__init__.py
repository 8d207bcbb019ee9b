"""The command line, ``dashscope-rt``: built on the public names only, as any program of a user's could be.

    main.py         the entry, exit codes, every error in one line
    _signals.py     Ctrl-C and SIGTERM, never lost
    _options.py     options that commands share; which value wins
    _contexts.py    names, keys and regions in a file of the user's own
    _request.py     request files
    _output.py      the two consoles;  _display.py  both transcripts and the status line while they are spoken
    _prompt.py      lines at a prompt;  _keyboard.py  lines typed meanwhile;  _tools.py  functions the model may call
    talk            ask.py, chat.py (_microphone.py), transcribe.py (_subtitles.py)
    look            tables.py (models, voices), record.py (record, replay, inspect), doctor.py (_checks.py)
    configure       configure.py, completion.py

It needs the extra ``cli``: ``pip install "dashscope_rt[cli]"``.
"""
