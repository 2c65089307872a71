custom_imports = dict(imports=["digits"])  # digits.py, beside config.py

train_pipeline = [
    dict(type="RandomAffine", degrees=12.0, translate=0.8, scale=0.12),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="DigitsDataset", split="train", pipeline=train_pipeline),
    collate_fn=dict(type="default_collate"),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="DigitsDataset", split="val"),
    collate_fn=dict(type="default_collate"),
)
test_dataloader = dict(
    batch_size=256,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="DigitsDataset", split="test"),
    collate_fn=dict(type="default_collate"),
)

val_evaluator = dict(type="DigitScores")
test_evaluator = dict(type="DigitScores")
