"""A hook is there for the thread that registered it, and for no other."""

import threading

import torch

from dycoke_cli.engine.thread_hook import before_forward


def in_another_thread(work):
    result = []
    thread = threading.Thread(target=lambda: result.append(work()))
    thread.start()
    thread.join()
    return result[0]  # an error in the thread left it empty


def test_it_changes_the_arguments_of_its_own_thread_alone():
    module = torch.nn.Identity()
    handle = before_forward(module, lambda module, args, kwargs: ((args[0] + 1,), kwargs))
    assert module(1) == 2
    assert in_another_thread(lambda: module(1)) == 1
    handle.remove()
    assert module(1) == 1


def test_another_thread_in_the_middle_of_the_registration():
    # What torch does between adding the hook and noting that it takes keyword arguments.
    module = torch.nn.Identity()
    before_forward(module, lambda module, args, kwargs: ((args[0] + 1,), kwargs))
    module._forward_pre_hooks_with_kwargs.clear()
    assert in_another_thread(lambda: module(1)) == 1
