"""The programs that JAX compiles in a block of code."""

from contextlib import contextmanager

import jax

__all__ = ["compilations"]

_COMPILED = "/jax/core/compile/backend_compile_duration"


@contextmanager
def compilations():
    """Context manager; a list with an element for each program compiled so far, in any thread."""
    compiled = []

    def listen(event, seconds, **about):
        del seconds
        if event == _COMPILED:
            compiled.append(about)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
