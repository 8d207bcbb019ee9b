"""Django for pages, and the WebSocket beside it. Any ASGI server takes this: daphne, uvicorn, runserver with daphne."""

import os

from dashscope_rt.web.django.asgi import application as with_voice

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
application = with_voice("voice/")
