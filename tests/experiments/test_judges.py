"""A judge behind an endpoint: what is asked, what is tried again, how it fails, and where the key is not."""

import json
import logging
import pickle
import socket
import traceback

import pytest
from support.judge_server import SILENCE, completion, serving
from support.waits import LONG

from paretokit.errors import ConfigError
from paretokit.experiments.judges import EndpointJudge, JudgeError

QUESTION = "Task: {prompt}\nAnswer: {text}\nIs it kind? YES or NO."
KEY = "sk-very-secret-123"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def judge_at(stub, **options):
    slept = []
    judge = EndpointJudge(base_url=stub.url, model="m", question=QUESTION, sleep=slept.append, **options)
    return judge, slept


@pytest.mark.parametrize(
    ("answer", "probability"), [("YES", 1), ("no", 0), (" Yes.\n", 1), ("**NO**", 0), ('"yes"!', 1), ("\n\nNo", 0)]
)
def test_the_answer_is_one_of_two_words(answer, probability):
    with serving(answer) as stub:
        assert judge_at(stub)[0]("Hi", "Hello.") == probability


def test_words_of_several_parts_are_told_apart():
    options = {"positive": "ENGAGING", "negative": "NOT ENGAGING"}
    with serving("not engaging", "Engaging.") as stub:
        judge, _ = judge_at(stub, **options)
        assert [judge("Hi", text) for text in "ab"] == [0, 1]


def test_what_is_sent():
    chat = ({"role": "user", "content": "Say {text}"},)
    with serving("YES") as stub:
        judge_at(stub)[0](chat, "{prompt} é")
    (request,) = stub.requests
    assert request == {
        "path": "/v1/chat/completions",
        "model": "m",
        "messages": [{"role": "user", "content": "Task: Say {text}\nAnswer: {prompt} é\nIs it kind? YES or NO."}],
        "temperature": 0,
        "max_tokens": 16,
    }
    assert "Authorization" not in stub.headers[0]


FAILURES = [429, 503, 500, "perhaps", b"<html>", b'{"choices": []}', b'{"choices": [{"message": {"content": null}}]}', b"[1]"]


@pytest.mark.parametrize("failure", FAILURES)
def test_what_fails_is_tried_again(failure):
    with serving(failure, failure, "YES") as stub:
        judge, slept = judge_at(stub, backoff=8.0)
        assert judge("Hi", "Hello.") == 1
    assert len(stub.requests) == 3
    assert 6 <= slept[0] <= 10
    assert 12 <= slept[1] <= 20  # twice as long, more or less


def test_a_timeout_is_tried_again():
    with serving(SILENCE, "YES") as stub:
        judge, slept = judge_at(stub, timeout=0.2, attempts=100)
        assert judge("Hi", "Hello.") == 1
    assert len(slept) >= 1  # an answer that a busy machine holds up for so long is one more
    assert len(stub.requests) >= 2


def test_the_server_may_say_how_long_to_wait():
    again = {"status": 429, "headers": {"Retry-After": "7"}}
    forever = {"status": 429, "headers": {"Retry-After": "86400"}}
    date = {"status": 429, "headers": {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}}
    with serving(again, forever, date, "YES") as stub:
        judge, slept = judge_at(stub, backoff=0.5)
        judge("Hi", "Hello.")
    assert slept[:2] == [7, 60]
    assert 1.5 <= slept[2] <= 2.5


def error_of(judge):
    with pytest.raises(JudgeError) as error:
        judge("Hi", "Hello.")
    assert "\n" not in str(error.value)
    return error.value


@pytest.mark.parametrize(
    ("reply", "found", "tries"),
    [
        (
            429,
            "found status 429 at the last of 3 attempts, expected an answer. Ask again later; answers given so far are kept.",
            3,
        ),
        ("maybe", "found the answer 'maybe', expected 'YES' or 'NO', at the last of 3 attempts", 3),
        (b"oops", "found a reply that is no chat completion at the last of 3 attempts", 3),
        (SILENCE, "found no answer within 0.1 seconds at the last of 3 attempts", 3),
        (401, "found status 401, expected an answer. Check the key in the environment variable that key_variable names.", 1),
        (404, "found status 404, expected an answer. Check base_url (it ends with /v1 at most servers) and model.", 1),
        (400, "found status 400, expected an answer. Check base_url, model and the server's log.", 1),
    ],
)
def test_how_it_ends(reply, found, tries):
    with serving(reply) as stub:
        judge, slept = judge_at(stub, attempts=3, timeout=0.1 if reply == SILENCE else LONG)
        message = str(error_of(judge))
    assert message.startswith(f"judge 'm' at {stub.url.removesuffix('/v1')}: {found}")
    assert len(stub.requests) == tries
    assert len(slept) == tries - 1  # no wait after the last


def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    judge = EndpointJudge(base_url=url, model="m", question=QUESTION, attempts=2, sleep=lambda seconds: None)
    assert "found no connection (URLError) at the last of 2 attempts" in str(error_of(judge))


def test_a_redirect_is_not_followed(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with serving("YES") as other, serving({"status": 307, "headers": {"Location": other.url}}) as stub:
        assert "found status 307" in str(error_of(judge_at(stub, key_variable="JUDGE_KEY")[0]))
    assert other.requests == []


def assert_no_key(text):
    assert KEY not in text
    assert KEY[3:10] not in text


@pytest.mark.parametrize("reply", [401, 429, f"your key is {KEY}", {"status": 400, "body": completion(KEY)}, SILENCE])
def test_the_key_is_sent_and_nowhere_else(monkeypatch, caplog, capsys, reply):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with serving(reply) as stub:
        judge, _ = judge_at(stub, key_variable="JUDGE_KEY", attempts=2, timeout=0.1 if reply == SILENCE else LONG)
        error = error_of(judge)
    assert stub.headers[0]["Authorization"] == f"Bearer {KEY}"
    shown = "".join(traceback.format_exception(error))
    for text in (str(error), repr(error), shown, repr(judge), judge.cache_key, caplog.text, *capsys.readouterr()):
        assert_no_key(text)
    assert_no_key(json.dumps(judge.request_body("Hi", "Hello.")))
    assert_no_key(pickle.dumps(EndpointJudge(base_url=stub.url, model="m", question=QUESTION)).decode("latin-1"))
    assert error.__context__ is None or error.__suppress_context__


def test_the_check_sees_a_key():
    with pytest.raises(AssertionError):
        assert_no_key(f"Bearer {KEY}")


@pytest.mark.parametrize("value", ["", "sk-two\nlines", "sk-\u00e9"])
def test_a_key_that_cannot_be_sent_is_not_shown(monkeypatch, value):
    monkeypatch.setenv("JUDGE_KEY", value)
    with serving("YES") as stub, pytest.raises(ConfigError) as error:
        judge_at(stub, key_variable="JUDGE_KEY")[0]("Hi", "Hello.")
    found = "signs that no key has" if value else "nothing"
    assert str(error.value) == (
        f"judge: found {found} in the environment variable JUDGE_KEY, expected the key of {stub.url.removesuffix('/v1')}. Set "
        "it, or leave key_variable out."
    )
    assert stub.requests == []


def test_the_cache_key_is_what_answers_depend_on():
    def key(**options):
        return EndpointJudge(**{"base_url": "http://h/v1", "model": "m", "question": QUESTION, **options}).cache_key

    assert key() == key(timeout=1.0, attempts=9, threads=3)
    assert len({key(), key(model="n"), key(question=QUESTION + "!"), key(base_url="http://i/v1"), key(positive="GOOD")}) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_url": "ftp://h"}, "judge: base_url does not fit; expected 'https://HOST/v1' or the like, without user, key"),
        ({"base_url": f"https://u:{KEY}@h/v1"}, "judge: base_url does not fit"),
        ({"base_url": f"https://h/v1?key={KEY}"}, "judge: base_url does not fit"),
        ({"base_url": "http://h/v1", "key_variable": "K"}, "judge: found http for h, expected https where a key is sent."),
        ({"question": "Good? {text}"}, "judge: found no {prompt} in the question, expected {prompt} and {text} in it. Add it."),
        ({"positive": "no."}, "judge: found the answers 'no.' and 'NO', expected two different words. Change one."),
        ({"attempts": 0}, "judge: attempts is 0; expected at least 1."),
        ({"threads": 0}, "judge: threads is 0; expected at least 1."),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(ConfigError) as error:
        EndpointJudge(**{"base_url": "https://h/v1", "model": "m", "question": QUESTION, **options})
    assert str(error.value).startswith(message)
    assert_no_key(str(error.value))
