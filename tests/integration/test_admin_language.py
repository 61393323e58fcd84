"""The console and the API in 简体中文: by the browser's wish, by the switch, and never in the wire words."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from jobs.operations import actions, credits, tasks
from tests.integration.admin_support import client_of, confirm_post
from tests.support import api

CHINESE = {"Accept-Language": "zh-hans"}
pytestmark = pytest.mark.usefixtures("transactional_db", "redis")


def _text(client: Client, url: str, **headers: str) -> str:
    response = client.get(url, headers=headers)
    assert response.status_code == 200
    return str(response.content.decode())


def _task() -> str:
    return str(tasks.submit("debug:noop").task_id)


@pytest.mark.req("V-13")
def test_the_login_page_follows_the_browsers_language() -> None:
    assert "<title>登录 | 任务中心</title>" in _text(Client(), reverse("admin:login"), **CHINESE)
    assert "Log in | Task Center" in _text(Client(), reverse("admin:login"))


@pytest.mark.req("V-13")
def test_a_task_page_is_chinese_but_for_the_wire_words() -> None:
    task_id = _task()
    url = reverse("admin:jobs_task_change", args=[task_id])
    shown = _text(client_of("operator"), url, **CHINESE)
    for text in (
        "为什么没有执行？",
        "最大重试次数",
        "任务数据",
        "没有存活的 Worker 服务队列 default。",
    ):
        assert text in shown
    assert 'title="pending">待处理</span>' in shown
    assert "Why isn" not in shown


@pytest.mark.req("V-13")
def test_a_confirmation_names_states_in_the_readers_language() -> None:
    client = client_of("operator")
    url = reverse("admin:jobs_task_act", args=[_task(), "archive"])
    assert "状态：待处理 → 已归档。业务状态：未开始 → 未开始。" in _text(client, url, **CHINESE)
    assert "State: pending → archived." in _text(client, url)
    confirm_post(client, url, reason="look at it")


@pytest.mark.req("V-13")
@pytest.mark.parametrize(
    "name",
    ["index", *(f"jobs_{model}_changelist" for model in (
        "queue", "task", "worker", "schedule", "platform", "breaker", "account", "creditentry",
        "auditentry", "apikey", "plan"
    )), "jobs_queue_redis"],
)  # fmt: skip
def test_every_page_has_the_switch_and_opens_in_both_languages(name: str) -> None:
    client = client_of("admin")
    for language, title in (("en", "Task Center"), ("zh-hans", "任务中心")):
        shown = _text(client, reverse(f"admin:{name}"), **{"Accept-Language": language})
        assert f"{title}</a></div>" in shown
        assert 'class="tc-language"' in shown


@pytest.mark.req("V-13")
def test_the_switch_is_remembered_over_the_browsers_wish_and_returns_to_its_page() -> None:
    client = client_of("viewer")
    here = reverse("admin:jobs_queue_changelist")
    chosen = client.post(reverse("set_language"), {"language": "zh-hans", "next": here})
    assert (chosen.status_code, chosen["Location"]) == (302, here)
    assert "紧急停止" not in _text(client, here)  # a viewer has no such button
    assert "<h1>队列</h1>" in _text(client, here, **{"Accept-Language": "en"})


@pytest.mark.req("V-13")
def test_the_switch_needs_its_csrf_token_and_leads_nowhere_else() -> None:
    strict = Client(enforce_csrf_checks=True)
    assert strict.post(reverse("set_language"), {"language": "en"}).status_code == 403
    sent = {"language": "en", "next": "https://elsewhere.example/"}
    assert Client().post(reverse("set_language"), sent)["Location"] == "/"


@pytest.mark.req("V-13", "A-01")
def test_the_api_says_its_errors_in_chinese_and_its_codes_as_ever() -> None:
    caller = api.client("admin")
    wrong: Any = caller.get("/tasks/task_00000000000000000000000000", Accept_Language="zh-hans")
    assert wrong.status_code == 404
    assert wrong.json()["message"] == "任务不存在。"
    assert wrong.json()["error"]["code"] == "task_not_found"
    said: Any = caller.post(
        "/tasks", {"type": "debug:noop", "queue": "dead_letter"}, Accept_Language="zh-CN"
    )
    assert said.json()["message"] == "不能向 dead_letter 提交任务"
    part: Any = caller.post("/tasks", {"type": "nope"}, Accept_Language="zh-hans")
    assert part.json()["message"] == "任务类型 'nope' 没有注册 Handler"
    shape: Any = caller.post("/tasks", {"type": 7}, Accept_Language="zh-hans")
    assert shape.json()["message"] == "应为 `str`，实际为 `int`，位置：`type`"
    plain: Any = caller.post("/tasks", {"type": 7})
    assert plain.json()["message"] == "Expected `str`, got `int` - at `type`"
    assert caller.get("/nowhere").json()["message"] == "There is no such endpoint"


@pytest.mark.req("V-13", "V-09")
def test_reasons_of_the_house_are_chinese_and_those_of_people_as_they_wrote_them() -> None:
    credits.grant(user_id=7, amount=100, reason="Tasks", actor="user:ops")
    made = tasks.submit("debug:noop", user_id=7, credits=30)
    actions.cancel(made.id, reason="cancelled on the command line", actor="cli")
    client = client_of("admin")
    ledger = _text(client, reverse("admin:jobs_creditentry_changelist"), **CHINESE)
    reasons = re.findall('data-label="原因">([^<]*)<', ledger)
    assert sorted(reasons) == ["Tasks", "任务", "通过命令行取消"]
    task = _text(client, reverse("admin:jobs_task_change", args=[made.task_id]), **CHINESE)
    assert "<dd>通过命令行取消</dd>" in task
    english = _text(client, reverse("admin:jobs_creditentry_changelist"))
    assert "cancelled on the command line" in english


@pytest.mark.req("V-12", "V-13")
def test_a_refused_page_says_so_in_the_readers_language_and_leads_home() -> None:
    viewer = client_of("viewer")
    for url, said in (
        (reverse("admin:jobs_apikey_changelist"), "你的角色无权访问此页面"),
        (reverse("admin:jobs_queue_pause", args=["low"]), "jobs.operate_queue"),
    ):
        answer = viewer.get(url, headers=CHINESE)
        page = answer.content.decode()
        assert answer.status_code == 403
        assert "没有权限" in page
        assert said in page
        assert f'href="{reverse("admin:index")}"' in page
