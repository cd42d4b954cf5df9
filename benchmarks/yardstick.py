"""The yardstick: ICNet as the released program computes it, written plainly from its description.

Every branch computes everything anew, correlation maps are n x n x p, SCFs are built and sorted channel by channel,
batch norms stay, everything is float32 and contiguous, a group goes through in one piece. The modules are named so
that the authors' state dict loads as it is.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-12
VGG = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512)
LAST_OF_STAGE = (3, 8, 15, 22, 29)


def up(maps: Tensor, size: int) -> Tensor:
    return functional.interpolate(maps, size=(size, size), mode="bilinear", align_corners=True)


class Vgg(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers, before = [], 3
        for out in VGG:
            if out == "pool":
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(before, out, 3, padding=1), nn.ReLU()]
                before = out
        self.vgg = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> list[Tensor]:
        stages = []
        for number, layer in enumerate(self.vgg):
            features = layer(features)
            if number in LAST_OF_STAGE:
                stages.append(features)
        return stages


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        return functional.relu(features + self.conv(features))


class Branch(nn.Module):
    def __init__(self, cells: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(cells, 128, 1), Residual(128))

    def forward(self, features: Tensor, sisms: Tensor) -> Tensor:
        n, c, h, w = features.shape
        sisms = up(sisms, h)
        features = functional.normalize(features, dim=1, eps=EPSILON)
        sivs = functional.normalize((features * sisms).mean(dim=(2, 3)), dim=1, eps=EPSILON)
        correlations = functional.conv2d(features, sivs.view(n, c, 1, 1)).view(n, n, h * w)
        correlations = functional.normalize(correlations, dim=2, eps=EPSILON)
        weights = torch.softmax((correlations @ correlations.transpose(1, 2)).sum(dim=2), dim=1)
        maps = (weights.view(n, n, 1) * correlations).sum(dim=1)
        low, high = maps.min(dim=1, keepdim=True).values, maps.max(dim=1, keepdim=True).values
        maps = (maps - low) / (high - low + EPSILON)
        flat = features.view(n, c, h * w)
        scf = (flat.transpose(1, 2) @ flat).view(n, h * w, h, w)
        order = maps.argsort(dim=1, descending=True)
        rscf = scf.gather(1, order.view(n, h * w, 1, 1).expand_as(scf))
        return self.conv(rscf * maps.view(n, 1, h, w))


class Block(nn.Module):
    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cosal_feat = Branch(cells)
        self.conv = nn.Sequential(nn.Conv2d(256, 128, 1), Residual(128))

    def forward(self, features: Tensor, sisms: Tensor) -> Tensor:
        return self.conv(torch.cat([self.cosal_feat(features, sisms), self.cosal_feat(features, 1 - sisms)], dim=1))


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pred = nn.Sequential(nn.Conv2d(32, 1, 1), nn.Sigmoid())

    def forward(self, features: Tensor) -> Tensor:
        return self.pred(features)


class Refine(nn.Module):
    def __init__(self, low: int) -> None:
        super().__init__()
        self.cmprs = nn.Conv2d(low, 32, 1)
        self.merge_conv = nn.Sequential(
            nn.Conv2d(96, 96, 3, padding=1),
            nn.BatchNorm2d(96),
            nn.ReLU(),
            nn.Conv2d(96, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
        )
        self.pred = Head()

    def forward(self, low: Tensor, coarsest: Tensor, sisms: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        size = low.shape[-1]
        low = self.cmprs(low)
        gated = [low * up(coarsest, size), low * up(sisms, size), up(features, size)]
        features = self.merge_conv(torch.cat(gated, dim=1))
        return features, self.pred(features)


class Yardstick(nn.Module):
    """`[n, 4, 224, 224]` maps in training, `[n, 1, 224, 224]` in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.vgg = Vgg()
        self.Co6, self.Co5, self.Co4 = Block(49), Block(196), Block(784)
        self.conv6_cmprs = nn.Sequential(
            nn.MaxPool2d(2, 2),
            nn.Conv2d(512, 128, 1),
            nn.Conv2d(128, 128, 3, padding=1),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 128, 3, padding=1),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 128, 3, padding=1),
        )
        self.conv5_cmprs, self.conv4_cmprs = nn.Conv2d(512, 256, 1), nn.Conv2d(512, 256, 1)
        self.merge_co_56 = Residual(128)
        self.merge_co_45 = nn.Sequential(Residual(128), nn.Conv2d(128, 32, 1))
        self.get_pred_4 = Head()
        self.refine_3, self.refine_2, self.refine_1 = Refine(256), Refine(128), Refine(64)

    def forward(self, images: Tensor, sisms: Tensor) -> Tensor:
        first, second, third, fourth, fifth = self.vgg(images)
        sixth = self.Co6(self.conv6_cmprs(fifth), sisms)
        fifth = self.Co5(self.conv5_cmprs(fifth), sisms)
        fourth = self.Co4(self.conv4_cmprs(fourth), sisms)
        features = self.merge_co_56(fifth + up(sixth, 14))
        features = self.merge_co_45(fourth + up(features, 28))
        coarsest = self.get_pred_4(features)
        features, map3 = self.refine_3(third, coarsest, sisms, features)
        features, map2 = self.refine_2(second, coarsest, sisms, features)
        _, map1 = self.refine_1(first, coarsest, sisms, features)
        if not self.training:
            return map1
        return torch.cat([up(part, 224) for part in (coarsest, map3, map2, map1)], dim=1)
