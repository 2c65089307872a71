# A small transformer learns to write like Python's standard library, character by character.
# From one process to many, with the same losses; about a minute and a half on two cores:
#
#   drivetrain train examples/charlm/config.py
#   drivetrain train examples/charlm/config.py --launch 2 --strategy ddp
#   drivetrain train examples/charlm/config.py --launch 2 --strategy fsdp

import os

custom_imports = dict(imports=["charlm"])  # charlm.py, beside this file

# The batch of all ranks together stays the same, however many there are.
global_batch = 16
batch_size = global_batch // int(os.environ.get("WORLD_SIZE", "1"))
length = 128
max_iters = 400
interval = 10

model = dict(type="CharLM", channels=128, layers=4, heads=4, length=length)

# How `--strategy fsdp` cuts this model: each block gathers and frees its parameters on its own.
strategies = dict(FSDPStrategy=dict(wrap=dict(classes=["Block"])))

train_dataloader = dict(
    batch_size=batch_size,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(type="StdlibText", split="train", length=length),
    collate_fn=dict(type="default_collate"),
)
val_dataloader = dict(
    batch_size=batch_size,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="StdlibText", split="val", length=length, max_chars=400_000),
    collate_fn=dict(type="default_collate"),
)
val_evaluator = dict(type="BitsPerChar")

train_cfg = dict(by_epoch=False, max_iters=max_iters, val_interval=200)
val_cfg = dict()

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=40),
    dict(
        type="CosineAnnealingLR",
        by_epoch=False,
        begin=40,
        end=max_iters,
        T_max=max_iters - 40,
        eta_min=2e-4,
    ),
]

default_hooks = dict(
    logger=dict(type="LoggerHook", interval=interval),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=200, max_keep_ckpts=1),
)
custom_hooks = [
    dict(type="MeanLossHook", interval_iters=interval),
    dict(type="FootprintHook"),
    dict(type="SampleTextHook", prompt="def ", num_chars=200),
]
log_processor = dict(
    by_epoch=False, custom_cfg=[dict(data_src="global_loss", method_name="current")]
)

randomness = dict(seed=0)
work_dir = "work_dirs/charlm"
