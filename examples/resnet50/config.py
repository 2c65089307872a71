# ResNet-50 on images of noise: nothing to learn, all to measure. For a device with some memory.
#
#   drivetrain train examples/resnet50/config.py
#   drivetrain train examples/resnet50/config.py --launch 8 --strategy ddp

custom_imports = dict(imports=["resnet50"])  # resnet50.py, beside this file

# Copies from pinned memory (pin_memory below) need not be waited for.
model = dict(
    type="ResNet50", data_preprocessor=dict(type="BaseDataPreprocessor", non_blocking=True)
)
train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    sampler=dict(type="InfiniteSampler", shuffle=False),
    dataset=dict(type="NoiseImages", num_images=4096),
    collate_fn=dict(type="default_collate"),
    pin_memory=True,
)
train_cfg = dict(by_epoch=False, max_iters=200)
optim_wrapper = dict(
    type="AmpOptimWrapper",
    dtype="bfloat16",
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4),
)
default_hooks = dict(logger=dict(type="LoggerHook", interval=20), checkpoint=None)
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
work_dir = "work_dirs/resnet50"
