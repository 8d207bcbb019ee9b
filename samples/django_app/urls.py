"""The page, and what the browser needs besides it."""

import talk
from django.urls import include, path

urlpatterns = [
    path("", talk.page),
    path("voice/", include("dashscope_rt.web.django.urls")),
]
