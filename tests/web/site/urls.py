from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.decorators.csrf import ensure_csrf_cookie

from dashscope_rt.web.django.conf import gateway


@ensure_csrf_cookie
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{gateway().pool.taken}")


urlpatterns = [path("", page), path("voice/", include("dashscope_rt.web.django.urls"))]
