"""From the model's arguments to a function's own types. One of the users of cattrs, which is loaded at the first call.

`Shape.fit` has checked and straightened everything before cattrs sees it, so that what cattrs may still refuse is what
the user's own classes refuse (validators, ``__post_init__``).
"""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from .shapes import is_typed_dict, resolve, unmarked

if TYPE_CHECKING:
    import cattrs


@functools.cache
def _converter() -> cattrs.Converter:
    import cattrs

    converter = cattrs.Converter(detailed_validation=True)
    converter.register_structure_hook(float, lambda value, _: float(value))
    converter.register_structure_hook_func(_is_number, lambda value, _: value)
    converter.register_structure_hook_factory(is_typed_dict, functools.partial(_typed_dict, converter))
    return converter


def _typed_dict(converter: cattrs.Converter, cls: Any) -> Any:
    # cattrs believes the class, which does not see NotRequired when its annotations are texts.
    hints = {name: unmarked(hint) for name, hint in resolve(cls, cls.__name__).items()}
    return lambda value, _: {name: converter.structure(item, hints[name]) for name, item in value.items()}


def _is_number(hint: Any) -> bool:
    if get_origin(hint) not in (Union, types.UnionType):
        return False
    return set(get_args(hint)) - {type(None)} == {int, float}


def structure(value: Any, hint: Any, name: str, problems: list[str]) -> Any:
    """Return ``value`` as an instance of ``hint``; what is refused is added to ``problems``, with its path."""
    import cattrs

    try:
        return _converter().structure(value, hint)
    except Exception as error:  # noqa: BLE001 — from the validators of the user's classes comes anything
        lines = cattrs.transform_error(error, path=name, format_exception=lambda inner, _: _clause(inner))
        for line in lines:
            said, _, path = line.rpartition(" @ ")
            problems.append(f"{path or name}: {said}")
        return None


def _clause(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    return text[:200] or type(error).__name__
