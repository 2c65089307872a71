# Handwritten digits, 8 x 8 pixels: a small convolutional network in about half a minute.
#
#   drivetrain train examples/digits/config.py
#   drivetrain train examples/digits/config.py optim_wrapper.optimizer.lr=0.01
# train_cfg.max_epochs=20

_base_ = ["base/data.py", "base/schedule.py", "base/runtime.py"]

model = dict(
    type="DigitsNet",
    width=32,
    dropout=0.2,
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[4.884], std=[6.016]),
)

work_dir = "work_dirs/digits"
