"""Configurations of network and objective; apart, so that reading a card loads no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_normative.core.condition import Covariate

Likelihood = Literal["gaussian", "laplace", "gaussian-map"]
BaselineKind = Literal["threshold", "atlas", "pca"]


class VAEConfig(BaseModel):
    """Architecture only.

    Attributes
    ----------
    kind : {"vae"}
    shape : tuple of 3 int
        Volume size of the dense form; nominal size of the spatial form.
    channels : int
        Co-registered sequences of one person.
    latent : {"dense", "spatial"}
    latent_size : int
        Length of the latent vector (per cell in the spatial form).
    stem : int
        Edge of the voxel blocks folded into channels before the first convolution.
    widths : tuple of int
        Channels per level; each level after the first halves the grid.
    bottleneck : int
        Channels per cell next to the dense layers.
    linear_factor : int
        Block size of the grid on which the linear branch works; 0 for no branch.
    linear_voxels : int
        Number of foreground voxels of that grid.
    sigma_map : bool
        The decoder carries a log σ per voxel (dense form only).
    local_edge : int
        Edge of the overlapping blocks of the linear branch's grid that carry latents of their
        own, even; 0 for no local level.
    local_size : int
        Latents per block.
    local_blocks : int
        Number of blocks; their mirror images, where the cohort was mirrored, not counted.
    local_mirrored : bool
        Blocks of the second half of the first axis are mirror images of the first.
    window : tuple of 3 int, optional
        The patch form, spatial: the network sees windows of this size, and with each voxel its
        position in the model's space; ``shape`` is the size of that space.
    overlap : int
        Voxels that neighbouring windows of a reconstruction share at least.
    condition : tuple of NumberCovariate or CategoryCovariate
        Columns of the cohort that the dense form can be given; empty for an unconditional model.
    anatomy : VAEConfig, optional
        The hierarchical form: a dense network above the windows, that sees the whole space in
        blocks of voxels, as its smaller ``shape`` says. Its latents are the model's.
    codes : int
        Vectors of the codebook that a cell's latent is replaced by when it is decoded, spatial
        form only; 0 for latents that are not quantised.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["vae"] = "vae"
    shape: tuple[int, int, int]
    channels: int = Field(1, ge=1)
    latent: Literal["dense", "spatial"] = "dense"
    latent_size: int = Field(128, ge=1)
    stem: int = Field(2, ge=1)
    widths: tuple[int, ...] = (16, 32, 64, 64)
    bottleneck: int = Field(32, ge=1)
    linear_factor: int = Field(0, ge=0)
    linear_voxels: int = Field(0, ge=0)
    sigma_map: bool = False
    local_edge: int = Field(0, ge=0)
    local_size: int = Field(0, ge=0)
    local_blocks: int = Field(0, ge=0)
    local_mirrored: bool = True
    window: tuple[int, int, int] | None = None
    overlap: int = Field(0, ge=0)
    condition: tuple[Covariate, ...] = ()
    anatomy: VAEConfig | None = None
    codes: int = Field(0, ge=0)

    @property
    def seen(self) -> tuple[int, int, int]:
        """Voxels that the network sees at a time, in training and in use."""
        return self.window or self.shape

    @property
    def stride(self) -> int:
        """Voxels per cell of the coarsest grid; sizes must be divisible by it."""
        return int(self.stem * 2 ** (len(self.widths) - 1))

    @property
    def anatomy_factor(self) -> int:
        """Edge of the blocks of voxels that the anatomy level sees as one; 0 without one."""
        return 0 if self.anatomy is None else self.shape[0] // self.anatomy.shape[0]

    @property
    def cells(self) -> tuple[int, int, int]:
        """Shape of the coarsest grid."""
        i, j, k = (n // self.stride for n in self.shape)
        return i, j, k

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one volume's latent; in the spatial form for the nominal size."""
        cells = self.cells if self.latent == "spatial" else ()
        return (self.latent_size, *cells)

    @model_validator(mode="after")
    def _consistent(self) -> VAEConfig:
        if any(n % self.stride for n in self.shape):
            raise ValueError(f"shape {self.shape} is not divisible by the stride {self.stride}")
        if self.linear_factor and self.latent != "dense":
            raise ValueError("the linear branch needs the dense latent")
        if self.sigma_map and self.latent != "dense":
            raise ValueError("a map of σ needs the dense latent: voxels of one place in the body")
        if self.condition and self.latent != "dense":
            raise ValueError("a condition needs the dense latent: one person a volume")
        if self.linear_factor and any(n % self.linear_factor for n in self.shape):
            raise ValueError(f"shape {self.shape} is not divisible by {self.linear_factor}")
        if bool(self.linear_factor) != bool(self.linear_voxels):
            raise ValueError("linear_factor and linear_voxels are given together or not at all")
        if self.codes and self.latent != "spatial":
            raise ValueError("codes need the spatial latent: a code is of a cell")
        if self.codes and self.anatomy is not None:
            raise ValueError("windows below an anatomy level have no codes")
        if self.codes == 1:
            raise ValueError("a codebook holds two codes or more")
        if self.window is not None:
            self._tile(self.window)
        elif self.overlap or self.anatomy is not None:
            raise ValueError("an overlap needs windows, and so does an anatomy level")
        if self.anatomy is not None:
            self._below(self.anatomy)
        if self.local_edge:
            step = self.local_edge // 2
            coarse = [n // self.linear_factor for n in self.shape] if self.linear_factor else [1]
            if self.local_edge % 2 or any(n % step or n < self.local_edge for n in coarse):
                raise ValueError(f"blocks of edge {self.local_edge} do not tile the linear grid")
            if self.channels != 1 or not self.local_size or not self.local_blocks:
                raise ValueError("a local level needs one channel, a size and a number of blocks")
        return self

    def _tile(self, window: tuple[int, int, int]) -> None:
        if self.latent != "spatial":
            raise ValueError("windows need the spatial latent")
        if any(w > n or w % self.stride for n, w in zip(self.shape, window, strict=True)):
            raise ValueError(
                f"a window {window} is no multiple of the stride {self.stride} within {self.shape}"
            )
        if self.overlap % self.stride or self.overlap >= min(window):
            raise ValueError(
                f"an overlap of {self.overlap} is no multiple of the stride {self.stride} below "
                f"the window {window}"
            )

    def _below(self, anatomy: VAEConfig) -> None:
        factor = self.anatomy_factor
        if anatomy.latent != "dense" or self.channels != 1 or anatomy.channels != 1:
            raise ValueError("the anatomy level is dense, and both levels have one channel")
        if factor < 2 or self.shape != tuple(factor * n for n in anatomy.shape):
            raise ValueError(f"blocks of no size lead from {self.shape} to {anatomy.shape}")
        if self.stride % factor:
            raise ValueError(f"the stride {self.stride} is no multiple of the blocks' {factor}")


class BaselineConfig(BaseModel):
    """A simple baseline in the place of the network.

    Attributes
    ----------
    kind : {"threshold", "atlas", "pca"}
        One intensity everywhere, the mean image, principal components at full resolution.
    shape : tuple of 3 int
    channels : int
    components : int
        Principal components.
    voxels : int
        Foreground voxels that the components span.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: BaselineKind
    shape: tuple[int, int, int]
    channels: int = Field(1, ge=1)
    components: int = Field(0, ge=0)
    voxels: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> BaselineConfig:
        spans = self.components > 0 and self.voxels > 0
        if spans != (self.kind == "pca") or bool(self.components) != bool(self.voxels):
            raise ValueError("principal components, and they alone, have components and voxels")
        return self


class AutoencoderConfig(BaseModel):
    """MONAI's ``AutoencoderKL`` in three dimensions, trained elsewhere.

    Defaults are MONAI's.

    Attributes
    ----------
    kind : {"monai-autoencoderkl"}
    shape : tuple of 3 int
        Volume size.
    widths : tuple of int
        MONAI's ``channels``, per level; each level after the first halves the grid.
    num_res_blocks : tuple of int
    attention_levels : tuple of bool
    latent_channels : int
    norm_num_groups : int
    norm_eps : float
    with_encoder_nonlocal_attn, with_decoder_nonlocal_attn : bool
    use_convtranspose, include_fc, use_combined_linear : bool
        As in MONAI.
    scale : float
        The network's intensity of 1 in model units: what it is given is multiplied by it, what it
        gives divided.
    weights_sha256 : str
        Of the file that the weights were read from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["monai-autoencoderkl"] = "monai-autoencoderkl"
    shape: tuple[int, int, int]
    widths: tuple[int, ...] = (32, 64, 64, 64)
    num_res_blocks: tuple[int, ...] = (2, 2, 2, 2)
    attention_levels: tuple[bool, ...] = (False, False, True, True)
    latent_channels: int = Field(3, ge=1)
    norm_num_groups: int = Field(32, ge=1)
    norm_eps: float = Field(1e-6, gt=0)
    with_encoder_nonlocal_attn: bool = True
    with_decoder_nonlocal_attn: bool = True
    use_convtranspose: bool = False
    include_fc: bool = True
    use_combined_linear: bool = False
    scale: float = Field(1.0, gt=0)
    weights_sha256: str = ""

    @property
    def channels(self) -> int:
        """Co-registered sequences of one person."""
        return 1

    @property
    def stride(self) -> int:
        """Voxels per cell of the latents' grid; sizes must be divisible by it."""
        return int(2 ** (len(self.widths) - 1))

    @model_validator(mode="after")
    def _consistent(self) -> AutoencoderConfig:
        levels = {len(self.widths), len(self.num_res_blocks), len(self.attention_levels)}
        if len(levels) != 1:
            raise ValueError("channels, num_res_blocks and attention_levels differ in length")
        if any(width % self.norm_num_groups for width in self.widths):
            raise ValueError(f"channels {self.widths} are not multiples of norm_num_groups")
        if any(n % self.stride for n in self.shape):
            raise ValueError(f"shape {self.shape} is not divisible by the stride {self.stride}")
        return self


NetworkConfig = Annotated[
    VAEConfig | BaselineConfig | AutoencoderConfig, Field(discriminator="kind")
]
"""What a model file's network is; ``kind`` tells which."""


class ObjectiveConfig(BaseModel):
    """What training maximises.

    Attributes
    ----------
    likelihood : {"gaussian", "laplace", "gaussian-map"}
        Of a voxel given the reconstruction: with the scale that is optimal for the batch, or
        with a learned σ per voxel.
    ssim : float
        Weight of 1 - SSIM, nats per voxel; 0 for none.
    beta : float
        Weight of the KL; 1 is the ELBO, 0 a plain autoencoder.
    free_nats : float
        KL per latent direction (batch mean) that costs nothing.
    warmup : float
        Share of training over which ``beta`` rises from 0.
    total_correlation : float
        Weight, within the KL, of the total correlation of the cohort's latents; 1 is the plain
        KL, more presses latents to be independent of each other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    likelihood: Likelihood = "gaussian"
    ssim: float = Field(0.0, ge=0)
    beta: float = Field(1.0, ge=0)
    free_nats: float = Field(0.05, ge=0)
    warmup: float = Field(0.2, ge=0, le=1)
    total_correlation: float = Field(1.0, ge=0)
