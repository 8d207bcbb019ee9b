"""A browser on one side, a session on the other: `relay`, and what puts it into Flask and Django.

    flask, django     thin: routes, login, application context, database connections, static files
    gateway           who may come in, with what session, how many; framework-free
    text              one written question, its answer as server-sent events
    pool              the seats of this process: cap, one per user, idle reaper, the end on SIGTERM
    relay             one browser socket, one session
    ear, outgoing     what the browser plays and has heard; what waits to be sent to it
    microphone        from any rate to the session's, bounded
    sockets, messages a WebSocket on a WSGI server's socket; the frames and what may be in them

What goes over the wire is written in `messages`. Nothing here is imported by the rest of the package. It needs the
extra ``flask`` or ``django``. The key stays on the server: no message to a browser has it.
"""
