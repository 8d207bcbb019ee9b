from __future__ import annotations

from dashscope_rt.web.django.asgi import application as voice

application = voice("voice/")
