default_hooks = dict(
    logger=dict(type="LoggerHook", interval=10),
    checkpoint=dict(
        type="CheckpointHook", interval=1, max_keep_ckpts=2, save_best="nll", rule="less"
    ),
)

custom_hooks = [
    dict(type="SyncBuffersHook"),  # several processes: one running mean for all, exact metrics
    dict(type="EMAHook", momentum=0.01, begin_epoch=1),
    dict(type="EarlyStoppingHook", monitor="nll", rule="less", min_delta=0.0001, patience=15),
    dict(type="MisclassifiedHook"),
]

visualizer = dict(
    type="Visualizer",
    vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")],
)

randomness = dict(seed=0)
