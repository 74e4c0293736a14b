"""What holds while a function that a user called goes on."""

import contextvars
import functools
from collections.abc import Callable
from typing import ParamSpec
from typing import TypeVar

import keras

_ARITHMETIC = "float32"
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Call:
    """A call from outside of this package.

    Attributes:
        goes_on: bool, False once it has returned or raised.
    """

    def __init__(self):
        self.goes_on = True


_current: contextvars.ContextVar[Call | None] = contextvars.ContextVar(
    "current_call", default=None
)


def current() -> Call | None:
    """The outermost call that goes on, None where there is none."""
    return _current.get()


def public_call(
    function: Callable[_Arguments, _Result],
) -> Callable[_Arguments, _Result]:
    """The function, begun by a user or within another public call.

    A classifier that came through the door is taken as it is until the
    outermost call ends, see `Facts.admit`. Meanwhile Keras' default policy and
    float type are float32: they are the user's for models of their own, and
    this package's layers compute in no other. Both are as before in the end.
    """

    @functools.wraps(function)
    def within_call(*arguments: _Arguments.args, **settings: _Arguments.kwargs):
        if _current.get() is not None:
            return function(*arguments, **settings)
        call, policy = Call(), keras.config.dtype_policy()
        floats = keras.config.floatx()
        token = _current.set(call)
        keras.config.set_floatx(_ARITHMETIC)
        keras.config.set_dtype_policy(_ARITHMETIC)
        try:
            return function(*arguments, **settings)
        finally:
            keras.config.set_floatx(floats)
            keras.config.set_dtype_policy(policy)
            _current.reset(token)
            call.goes_on = False

    return within_call
