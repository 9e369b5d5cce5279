"""A judge behind an OpenAI-compatible endpoint: one question, answered with one of two words.

A key comes from an environment variable whose name is given, at each call, and goes into the request and nowhere else: it is
no part of the judge, its errors, its cache key, or of anything that is written. Imports: the standard library, `errors`.
"""

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message as Headers
from http.client import HTTPException
from random import Random
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from paretokit.errors import ConfigError, ParetokitError
from paretokit.experiments.content_cache import content_key
from paretokit.experiments.score import prompt_text
from paretokit.prompts import Prompt, describe

__all__ = ["EndpointJudge", "JudgeError"]

_LOCAL = ("localhost", "127.0.0.1", "::1")
_LONGEST_WAIT = 60.0  # seconds between two attempts
_LONGEST_REPLY = 2**20  # bytes
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)  # what may go well a moment later


class JudgeError(ParetokitError, RuntimeError):
    """A judge that could not be reached or did not answer as asked."""


class _Again(Exception):  # noqa: N818 (not an error)
    """An attempt failed, and another may go well; `after`: the server's wish in seconds, if any."""

    def __init__(self, found: str, *, after: float | None = None) -> None:
        super().__init__(found)
        self.after = after


@dataclass(frozen=True, kw_only=True)
class EndpointJudge:
    """A judge that asks a model at `base_url`, which speaks OpenAI's chat completions, whether a text is good.

    `judge(prompt, text)` sends `question` with "{prompt}" and "{text}" replaced, at temperature 0, and returns 1.0 where the
    answer is the word `positive`, 0.0 where it is `negative`, whatever their case and the signs around them. A timeout, a
    refused connection, status 429 or 5xx and any other answer are tried again, `attempts` times in all, after `backoff`, twice
    that, ... seconds, more or less, or after what the server asks for, up to a minute. Redirects are not followed, since the
    key would go along.

    `key_variable` names the environment variable with the key; None: no key is sent. `threads` questions may be asked at a
    time. Raises `ConfigError` for options that do not fit, a missing key, and a key that would travel unencrypted to another
    machine; `JudgeError` where all attempts failed, or at once where trying again is no use (status 401, say).

    >>> question = "Task: {prompt} Answer: {text} Kind?"
    >>> judge = EndpointJudge(base_url="http://localhost:8000/v1", model="judge", question=question)
    >>> judge.request_body("Hi", "Hello.")["messages"]
    [{'role': 'user', 'content': 'Task: Hi Answer: Hello. Kind?'}]
    """

    base_url: str
    model: str
    question: str
    positive: str = "YES"
    negative: str = "NO"
    key_variable: str | None = None
    max_tokens: int = 16
    timeout: float = 60.0  # seconds
    attempts: int = 5
    backoff: float = 1.0  # seconds
    threads: int = 1
    sleep: Callable[[float], object] = time.sleep

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise ConfigError(
                "judge: base_url does not fit; expected 'https://HOST/v1' or the like, without user, key or query. A key "
                "goes into an environment variable, named by key_variable."
            )
        if self.key_variable is not None and parts.scheme == "http" and parts.hostname not in _LOCAL:
            raise ConfigError(
                f"judge: found http for {parts.hostname}, expected https where a key is sent. Change base_url or leave "
                "key_variable out."
            )
        for hole in ("{prompt}", "{text}"):
            if hole not in self.question:
                raise ConfigError(f"judge: found no {hole} in the question, expected {{prompt}} and {{text}} in it. Add it.")
        if _word(self.positive) == _word(self.negative) or not _word(self.positive) or not _word(self.negative):
            raise ConfigError(
                f"judge: found the answers {self.positive!r} and {self.negative!r}, expected two different words. Change one."
            )
        for name, value in (("attempts", self.attempts), ("threads", self.threads), ("max_tokens", self.max_tokens)):
            if value < 1:
                raise ConfigError(f"judge: {name} is {value}; expected at least 1.")

    @property
    def cache_key(self) -> str:
        """What answers depend on: where and what the model is, and how it is asked; not the key."""
        return content_key(self.base_url, self.model, self.question, self.positive, self.negative, self.max_tokens)

    def request_body(self, prompt: Prompt, text: str) -> dict[str, Any]:
        """Return what is sent, as JSON values."""
        holes = {"{prompt}": prompt_text(prompt), "{text}": text}
        content = re.sub(r"\{prompt\}|\{text\}", lambda hole: holes[hole.group()], self.question)
        messages = [{"role": "user", "content": content}]
        return {"model": self.model, "messages": messages, "temperature": 0, "max_tokens": self.max_tokens}

    def __call__(self, prompt: Prompt, text: str) -> float:
        """Return 1.0 where the model finds the text good, else 0.0."""
        body = json.dumps(self.request_body(prompt, text)).encode()
        jitter = Random(body)  # waits that differ between questions, and are the same in every run
        found = ""
        for attempt in range(self.attempts):
            try:
                return self._verdict(self._post(body))
            except _Again as failure:
                found = str(failure)
                wait = self.backoff * 2**attempt * (0.75 + jitter.random() / 2) if failure.after is None else failure.after
            if attempt + 1 < self.attempts:
                self.sleep(min(wait, _LONGEST_WAIT))
        raise self._failure(
            f"found {found} at the last of {self.attempts} attempts", "Ask again later; answers given so far are kept."
        )

    def _verdict(self, answer: str) -> float:
        word = _word(answer)
        if word not in (_word(self.positive), _word(self.negative)):
            shown = describe(_without(answer, self._key()))
            raise _Again(f"the answer {shown}, expected {self.positive!r} or {self.negative!r},")
        return float(word == _word(self.positive))

    def _post(self, body: bytes) -> str:
        """Send the question and return the text of the answer."""
        headers = {"Content-Type": "application/json"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        request = Request(f"{self.base_url.rstrip('/')}/chat/completions", data=body, headers=headers, method="POST")
        try:
            with build_opener(_NoRedirect).open(request, timeout=self.timeout) as reply:
                return _content(reply.read(_LONGEST_REPLY))
        except HTTPError as error:
            after = _seconds(error.headers.get("Retry-After"))
            error.close()
            if error.code in _AGAIN:
                raise _Again(f"status {error.code}", after=after) from None
            refused = error.code
        except TimeoutError:
            raise _Again(f"no answer within {self.timeout:g} seconds") from None
        except (URLError, HTTPException, OSError) as error:
            timed_out = isinstance(getattr(error, "reason", None), TimeoutError)
            found = f"no answer within {self.timeout:g} seconds" if timed_out else f"no connection ({type(error).__name__})"
            raise _Again(found) from None
        raise self._failure(f"found status {refused}", _REMEDIES.get(refused, "Check base_url, model and the server's log."))

    def _key(self) -> str:
        """The key as the environment has it now; "" where none is asked for."""
        if self.key_variable is None:
            return ""
        key = os.environ.get(self.key_variable, "").strip()
        if not key or not key.isascii() or not key.isprintable():  # http.client would show such a key in its error
            found = "signs that no key has" if key else "nothing"
            raise ConfigError(
                f"judge: found {found} in the environment variable {self.key_variable}, expected the key of {self._place}. Set "
                "it, or leave key_variable out."
            )
        return key

    @property
    def _place(self) -> str:
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}"

    def _failure(self, found: str, remedy: str) -> JudgeError:
        return JudgeError(f"judge {self.model!r} at {self._place}: {found}, expected an answer. {remedy}")


_REMEDIES = {
    401: "Check the key in the environment variable that key_variable names.",
    403: "Check what the key in the environment variable that key_variable names may do.",
    404: "Check base_url (it ends with /v1 at most servers) and model.",
}


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Headers, newurl: str) -> None:
        return None


def _content(reply: bytes) -> str:
    """The text of the first choice of a chat completion."""
    try:
        content = json.loads(reply)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        raise _Again("a reply that is no chat completion") from None
    if not isinstance(content, str):
        raise _Again("a chat completion without text")
    return content


def _word(answer: str) -> str:
    return " ".join(answer.split()).strip(" .,:;!?\"'`*_()[]").casefold()


def _seconds(header: str | None) -> float | None:
    try:
        return None if header is None else max(0.0, float(header))
    except ValueError:  # a date: the usual wait will do
        return None


def _without(text: str, key: str) -> str:
    return text.replace(key, "***") if key else text
