"""Talk with the model from a page of a Django project.

    pip install "dashscope_rt[django,emulator]" daphne
    python samples/django_app/manage.py runserver

Then open http://127.0.0.1:8000. With DASHSCOPE_API_KEY set it talks to DashScope; without, to the emulator on this
machine, and the page says so.
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    execute_from_command_line(sys.argv)
