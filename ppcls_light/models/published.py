"""What the authors of the networks published: top-1 in % on ImageNet-1k's 50,000 validation images.

Theirs, not measured here. Each at the input size of the network's YAML file in configs/ and with its evaluation.
"""

TOP1 = {
    # PaddleClas, docs/en/models/ImageNet1k/PP-LCNet_en.md
    "PPLCNet_x0_25": 51.86,
    "PPLCNet_x0_35": 58.09,
    "PPLCNet_x0_5": 63.14,
    "PPLCNet_x0_75": 68.18,
    "PPLCNet_x1_0": 71.32,
    "PPLCNet_x1_5": 73.71,
    "PPLCNet_x2_0": 75.18,
    "PPLCNet_x2_5": 76.60,
    # JierunChen/FasterNet, README.md, crop ratio 0.9
    "FasterNet_T0": 71.918,
    "FasterNet_T1": 76.218,
    "FasterNet_T2": 78.886,
    "FasterNet_S": 81.284,
    "FasterNet_M": 82.962,
    "FasterNet_L": 83.506,
    # liyunsheng13/micronet, README.md; +-0.5 between runs by their account (issue 28)
    "MicroNet_M0": 46.6,
    "MicroNet_M1": 51.4,
    "MicroNet_M2": 59.4,
    "MicroNet_M3": 62.5,
    # mmaaz60/EdgeNeXt, README.md; trained on ImageNet-1k alone, without distillation (USI)
    "EdgeNeXt_XX_Small": 71.23,
    "EdgeNeXt_X_Small": 74.96,
    "EdgeNeXt_Small": 79.41,
    "EdgeNeXt_Base": 82.47,
    "EdgeNeXt_XX_Small_BN_HS": 70.33,
    "EdgeNeXt_X_Small_BN_HS": 74.87,
    "EdgeNeXt_Small_BN_HS": 78.39,
}
