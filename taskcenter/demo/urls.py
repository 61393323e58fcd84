"""Routes of the demo, there when it is switched on."""

from django.urls import path

from taskcenter.demo import views

app_name = "demo"
urlpatterns = [
    path("mails/", views.mails, name="mails"),
    path("mails/<str:name>/", views.mail, name="mail"),
]
