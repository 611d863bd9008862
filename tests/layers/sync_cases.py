"""What the workers of test_sync.py do: many cases in one process, since each has to import torch first."""

import copy
import os
import signal
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bnlib.layers import (
    BatchNorm,
    BatchNorm1d,
    SyncBatchNorm,
    checkpoint,
    convert_to_sync,
    recompute_statistics,
)

SHAPES = (12, 3), (12, 3, 5), (12, 3, 4, 5), (12, 3, 2, 3, 2)
# how many of twelve examples each worker has
SPLITS = {
    2: {"equal": (6, 6), "ragged": (11, 1), "empty": (0, 12)},
    3: {"equal": (4, 4, 4), "ragged": (1, 9, 2), "empty": (7, 0, 5)},
    4: {"equal": (3, 3, 3, 3), "ragged": (1, 5, 2, 4), "empty": (0, 12, 0, 0)},
}
SETTINGS = {
    "plain": {},
    "not affine": {"affine": False},
    "no bias": {"bias": False},
    "momentum None": {"momentum": None},
    "not tracking": {"track_running_stats": False},
}


def off(a, b):
    assert a.shape == b.shape and a.dtype == b.dtype
    return (a - b).abs().max().item() if a.numel() else 0.0


def off_center(shape, generator):
    channels = (1, 3, *(1,) * (len(shape) - 2))
    mean, std = (torch.tensor(v, dtype=torch.float64).reshape(channels) for v in ([30, -2, 0.5], [2, 0.3, 1]))
    return mean + std * torch.randn(shape, generator=generator, dtype=torch.float64)


def unlike_new(norm):
    with torch.no_grad():
        for v, values in ((norm.weight, [1.5, -0.7, 2.0]), (norm.bias, [-1.0, 0.4, 3.0])):
            if v is not None:
                v.copy_(torch.tensor(values))
    return norm


def whole_and_shares(make, sizes, rank, shape, generator, group=None, steps=3):
    """How far a synchronized norm on shares is from a plain one on all, over some steps and in eval."""
    ours, theirs = unlike_new(make(SyncBatchNorm).double()), unlike_new(make(BatchNorm).double())
    ours.process_group = group
    worst = 0.0
    for training in [True] * steps + [False]:
        ours.train(training), theirs.train(training)
        x_all = off_center(shape, generator).requires_grad_()
        dy_all = torch.randn(shape, generator=generator, dtype=torch.float64)
        x = x_all.detach().split(sizes)[rank].clone().requires_grad_()
        y, y_all = ours(x), theirs(x_all)
        y.backward(dy_all.split(sizes)[rank]), y_all.backward(dy_all)
        worst = max(worst, off(y, y_all.split(sizes)[rank]), off(x.grad, x_all.grad.split(sizes)[rank]))
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            dist.all_reduce(p.grad, group=group)  # local, so that their sum is the whole's
            worst = max(worst, off(p.grad, q.grad))
            p.grad = q.grad = None
        for v, w in zip(ours.buffers(), theirs.buffers(), strict=True):
            worst = max(worst, off(v, w) if v.is_floating_point() else float(v != w))
    return worst, [v.numpy().tobytes() for v in ours.buffers()]


def equality():
    """Differences from one process, and what is left in the buffers, by case."""
    rank, workers = dist.get_rank(), dist.get_world_size()
    generator = torch.Generator().manual_seed(0)
    found = {}
    for split, sizes in SPLITS[workers].items():
        for shape in SHAPES:
            for name, keywords in SETTINGS.items():
                make = lambda kind, keywords=keywords: kind(3, **keywords)  # noqa: E731
                found[split, len(shape), name] = whole_and_shares(make, sizes, rank, shape, generator)
    # a single example on each worker would be refused by any one of them alone
    found["one each", 2, "plain"] = whole_and_shares(
        lambda kind: kind(3), (1,) * workers, rank, (workers, 3), generator
    )
    found["float32", 4, "plain"] = in_float32(SPLITS[workers]["ragged"], rank, generator), []
    found["all empty", 2, "plain"] = all_empty(), []
    found["derivatives of derivatives", 4, "plain"] = twice(SPLITS[workers]["ragged"], rank, generator), []
    found["DistributedDataParallel", 2, "plain"] = in_ddp(SPLITS[workers]["ragged"], rank, generator), []
    found["checkpointed", 2, "plain"] = checkpointed(SPLITS[workers]["ragged"], rank, generator), []
    if workers == 4:
        groups = [dist.new_group([0, 3]), dist.new_group([1, 2])]
        mine = rank in (1, 2)
        place = [0, 3].index(rank) if not mine else [1, 2].index(rank)
        own = torch.Generator().manual_seed(int(mine))
        found["groups", 2, "plain"] = (
            whole_and_shares(lambda kind: kind(3), (5, 7), place, (12, 3), own, groups[mine])[0],
            [],
        )
        found["copied with its group", 2, "plain"] = copied_with_group(groups[mine]), []
        stranger = SyncBatchNorm(3, process_group=groups[not mine])
        try:
            stranger(torch.ones(2, 3))
        except ValueError as error:
            found["stranger", 2, "plain"] = 0.0 if "with this worker in it" in str(error) else 1.0, []
    return found


def in_float32(sizes, rank, generator):
    """A mean a thousand spreads away, where sums of squares would leave one digit of the variance."""
    x_all = 1000 + torch.randn(12, 3, 4, 5, generator=generator)
    norm, whole = SyncBatchNorm(3, momentum=1.0), BatchNorm(3, momentum=1.0).double()
    y = norm(x_all.split(sizes)[rank])
    whole(x_all.double())
    assert y.dtype == torch.float32
    gathered = [torch.zeros_like(norm.running_var) for _ in sizes]
    dist.all_gather(gathered, norm.running_var)
    assert all(torch.equal(v, gathered[0]) for v in gathered)
    return (norm.running_var / whole.running_var - 1).abs().max().item()


def all_empty():
    norm, before = SyncBatchNorm(3), SyncBatchNorm(3)
    assert norm(torch.zeros(0, 3, requires_grad=True)).shape == (0, 3)
    assert norm.num_batches_tracked == 1
    return max(off(norm.running_mean, before.running_mean), off(norm.running_var, before.running_var))


def twice(sizes, rank, generator):
    x_all = off_center((12, 3, 4, 5), generator)
    dy_all, v_all = (torch.randn(x_all.shape, generator=generator, dtype=torch.float64) for _ in range(2))
    found = []
    for norm, part in ((SyncBatchNorm(3), lambda v: v.split(sizes)[rank]), (BatchNorm(3), lambda v: v)):
        x, dy, v = (part(w).clone().requires_grad_() for w in (x_all, dy_all, v_all))
        y = unlike_new(norm.double())(x)
        (dx,) = torch.autograd.grad((y * dy).sum(), x, create_graph=True)
        found.append(torch.autograd.grad((dx.tanh() * v).sum(), (x, dy)))
    return max(off(a, b.split(sizes)[rank]) for a, b in zip(*found, strict=True))


def network():
    torch.manual_seed(0)
    layers = nn.Linear(5, 4, bias=False), BatchNorm1d(4), nn.Sigmoid()
    return nn.Sequential(*layers, nn.Linear(4, 4, bias=False), BatchNorm1d(4), nn.Linear(4, 3)).double()


def steps_together(prepare, forward, sizes, rank, generator, steps=3):
    """Largest difference in parameters and buffers after some steps on shares and on the whole."""
    alone = network()
    model = prepare(convert_to_sync(alone))
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (model, alone)]
    for _ in range(steps):
        u = torch.randn(12, 5, generator=generator, dtype=torch.float64)
        labels = torch.randint(0, 3, (12,), generator=generator)
        for optimizer in optimizers:
            optimizer.zero_grad()
        scores, answers = forward(model, u.split(sizes)[rank]), labels.split(sizes)[rank]
        # the workers' gradients are averaged: this loss makes that the gradient of the whole's mean
        (F.cross_entropy(scores, answers, reduction="sum") * len(sizes) / 12).backward()
        F.cross_entropy(alone(u), labels).backward()
        if not isinstance(model, DistributedDataParallel):
            for p in model.parameters():
                dist.all_reduce(p.grad)
                p.grad /= len(sizes)
        for optimizer in optimizers:
            optimizer.step()
    pairs = zip(model.state_dict().values(), alone.state_dict().values(), strict=True)
    return max(off(v, w) if v.is_floating_point() else float(v != w) for v, w in pairs)


def in_ddp(sizes, rank, generator):
    return steps_together(DistributedDataParallel, lambda m, u: m(u), sizes, rank, generator)


def checkpointed(sizes, rank, generator):
    return steps_together(lambda m: m, lambda m, u: checkpoint(m, u.requires_grad_()), sizes, rank, generator)


def compiled():
    """A network compiled with breaks, and what is said of one without, and of an exported one."""
    rank, generator = dist.get_rank(), torch.Generator().manual_seed(0)
    prepare = lambda model: torch.compile(model, backend="eager")  # noqa: E731
    alike = steps_together(prepare, lambda m, u: m(u), (6, 6), rank, generator)
    torch.compiler.reset()  # else the graphs with breaks serve again
    model, u = convert_to_sync(network()), torch.ones(6, 5).double()
    said = []
    for refused in (
        lambda: torch.compile(model, backend="eager", fullgraph=True)(u),
        lambda: torch.jit.trace(model, u, check_trace=False),
        lambda: torch.export.export(model, (u,), strict=False),
    ):
        try:
            refused()
            said.append("nothing")
        except Exception as error:
            said.append(f"{type(error).__name__}: {error}")
    return alike, said


def copied_with_group(group):
    norm = SyncBatchNorm(3, process_group=group)
    norm(torch.randn(4, 3))
    twin = copy.deepcopy(norm)
    assert twin.process_group is group
    twin(torch.randn(4, 3))  # and meets there
    return float(twin.num_batches_tracked - 2)


def population():
    """Statistics of a model from everybody's share, and of one process with all of the data."""
    rank, workers = dist.get_rank(), dist.get_world_size()
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (8, 3, 5, 9, 4)]
    alone, model = network(), network()
    recompute_statistics(alone, batches)
    recompute_statistics(model, batches[rank::workers], process_group=dist.group.WORLD)
    stored = [v.numpy().tobytes() for v in model.buffers()]
    worst = max(off(v, w) for v, w in zip(model.buffers(), alone.buffers(), strict=True) if v.dim())
    # a share of nothing, and a share that cannot be measured
    recompute_statistics(model, batches if rank == 0 else [], process_group=dist.group.WORLD)
    worst = max(worst, *(off(v, w) for v, w in zip(model.buffers(), alone.buffers(), strict=True) if v.dim()))
    before = copy.deepcopy(model.state_dict())
    messages = []
    for share in (batches if rank else [torch.zeros(3, 7).double()], []):
        try:
            recompute_statistics(model, share, process_group=dist.group.WORLD)
        except (RuntimeError, ValueError) as error:
            messages.append(f"{type(error).__name__}: {error}")
    unmoved = all(torch.equal(v, before[name]) for name, v in model.state_dict().items())
    return worst, stored, messages, unmoved


def error_of(norm, x):
    """What a forward raises, and whether it moved a buffer."""
    before = [v.clone() for v in norm.buffers()]
    try:
        norm(x)
        message = "nothing"
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
    return message, all(torch.equal(v, w) for v, w in zip(norm.buffers(), before, strict=True))


def mistakes():
    """Every worker's error where the last one does something else than the others; then all do right."""
    last = dist.get_rank() == dist.get_world_size() - 1
    x = torch.randn(4, 3)
    norm = SyncBatchNorm(3)
    errors = {
        "another layer's channels": error_of(
            SyncBatchNorm(5 if last else 3), torch.randn(4, 5 if last else 3)
        ),
        "channels at first": error_of(norm, torch.randn(4, 5) if last else x),
        "fine": error_of(norm, x),
        "channels later": error_of(norm, torch.randn(4, 5) if last else x),
        "dtype of the input": error_of(norm, x.double() if last else x),
        "no tensor": error_of(norm, None if last else x),
        "half precision": error_of(norm, x.half() if last else x),
        "dtype of the layer": error_of(
            SyncBatchNorm(3).double() if last else SyncBatchNorm(3), x.double() if last else x
        ),
        "gradients": error_of(norm, x.clone().requires_grad_(last)),
        "one value": error_of(SyncBatchNorm(3), x[:1] if last else x[:0]),
    }
    norm(x)
    counted = norm.num_batches_tracked.item()
    state = [v.numpy().tobytes() for v in norm.buffers()]
    return errors, counted, state


def one_fails(how):
    """Two good steps; then the last worker dies, or sleeps."""
    norm = SyncBatchNorm(3)
    for _ in range(2):
        norm(torch.randn(4, 3))
    if dist.get_rank() == dist.get_world_size() - 1:
        if how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "raises":
            raise KeyError("no such file")
        time.sleep(600)
    message, unmoved = error_of(norm, torch.randn(4, 3))
    assert unmoved and norm.num_batches_tracked == 2
    return message
