"""``path("voice/", include("dashscope_rt.web.django.urls"))``."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "dashscope_rt"
urlpatterns = [
    path("ws", views.websocket, name="ws"),
    path("ask", views.ask, name="ask"),
    path("<path:name>", views.static, name="static"),
]
