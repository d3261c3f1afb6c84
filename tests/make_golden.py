"""Make the compact copies in tests/golden from the full golden files. Tests never run this.

    python tests/make_golden.py [--source ../shared/golden] [--float64 FOLDER]

FOLDER holds `tg_<name>_False.npz`: the scalar `loss` and, under its PyTorch name, the L2 norm of every parameter's
gradient, computed by the PyTorch networks in float64 and eval mode on the file's images, weights and labels (MSPN:
OHKM and coarse-to-fine on). Without it the float64 numbers of the existing copies are kept.

Beside the networks: `decode_<kind>` is the first person of each decoder, `oks_nms` is whole, `crops` holds where the
four people are cut, without their pictures, `mpii_pckh` ground truth and predictions in float32, and `udp_dark` what
`compact_udp_dark` says.

The full golden files have no MobileNetV2. Its heatmaps come from a PyTorch network written after the paper and MMPose's
description (float32, PyTorch 2.14, `input_seed`, `input_scale` and `input_shape` as in the copy, weights as in all
others); with --only NAME, and --source at the folder of such a file, its copy alone is made.
"""
import argparse
from pathlib import Path

import numpy as np

COMPACT_FOLDER = Path(__file__).resolve().parent / 'golden'
NAMES = ('mspn_1stg_256x192', 'mspn_2stg_256x192', 'mspn_4stg_384x288', 'simplepose_r50_256x192',
         'simplepose_r152_384x288', 'hrnet_w32_256x192', 'mipnet_hrnet_w32_256x192')
FLOAT64_KEYS = ('loss_eval_float64', 'grad_norms_eval_float64')
HEATMAPS = ('heatmaps', 'heatmaps_lambda0', 'heatmaps_lambda1')
LEFT_OUT = (*HEATMAPS, 'heatmaps_after')
DECODERS = ('mspn_coco', 'mspn_mpii', 'simple')


def float64_numbers(name: str, names_of_gradients, folder) -> dict:
    """Return the float64 loss and gradient norms, from `folder` or from the existing copy."""
    if folder is None:
        with np.load(COMPACT_FOLDER / f'{name}.npz') as stored:
            return {key: stored[key] for key in FLOAT64_KEYS}
    with np.load(folder / f'tg_{name}_False.npz') as stored:
        if set(stored.files) != set(names_of_gradients) | {'loss'}:
            raise ValueError(f'{name}: the float64 gradients are not those of the golden file')
        return {'loss_eval_float64': np.float64(stored['loss']),
                'grad_norms_eval_float64': np.array([stored[key] for key in names_of_gradients], np.float64)}


def compact(name: str, source: Path, float64_folder) -> dict:
    """Return the arrays of one compact copy."""
    with np.load(source / f'{name}.npz') as stored:
        full = dict(stored)
    small = {key: value for key, value in full.items() if key not in LEFT_OUT}
    for key in HEATMAPS:
        if key in full:
            small[f'{key}_every4'] = full[key][..., ::4, ::4]
            small[f'{key}_peak'] = np.abs(full[key]).max()
    if 'grad_names' in full:
        small.update(float64_numbers(name, full['grad_names'], float64_folder))
    return small


def compact_geometry(source: Path) -> dict:
    """Return {name: arrays} of the copies that belong to no network."""
    with np.load(source / 'decode.npz') as stored:
        copies = {f'decode_{kind}': {key[len(kind) + 1:]: stored[key][:1] for key in stored.files
                                     if key.startswith(f'{kind}_')} for kind in DECODERS}
    with np.load(source / 'oks_nms.npz') as stored:
        copies['oks_nms'] = dict(stored)
    with np.load(source / 'crops.npz') as stored:
        copies['crops'] = {key: stored[key] for key in stored.files if stored[key].dtype != np.uint8}
    copies['mpii_pckh'] = compact_pckh(source / 'mpii')
    copies['udp_dark'] = compact_udp_dark(source / 'udp_dark')
    return copies


def compact_pckh(folder: Path) -> dict:
    """Return predictions, names and values of the table, and the fields of the MATLAB file."""
    from scipy.io import loadmat
    truth = loadmat(folder / 'gt_valid.mat')
    with np.load(folder / 'mpii_pckh.npz') as stored:
        copy = {'predictions': stored['predictions_0based'].astype(np.float32), 'values': stored['values']}
    return {**copy, 'jnt_missing': truth['jnt_missing'],
            **{name: truth[name].astype(np.float32) for name in ('pos_gt_src', 'headboxes_src')}}


def compact_udp_dark(folder: Path) -> dict:
    """Return a map of each kind at 256x192 with what DARK and UDP find in it, the label maps of that size, and all
    matrices and ideal flip tests; no pictures."""
    parts = {}
    for part in ('udp_dark_decode', 'udp_dark_targets', 'udp_warp', 'udp_flip'):
        with np.load(folder / f'{part}.npz') as stored:
            parts[part] = dict(stored)
    decode, targets, warp, flip = parts.values()
    _, first = np.unique(decode['a_kind'].ravel(), return_index=True)
    person, joint = np.divmod(np.sort(first), decode['a_kind'].shape[1])
    copy = {f'decode_{name}': decode[f'a_{name}'][person, joint] for name in (
        'heatmaps', 'kind', 'scores', 'has_peak', *(f'{rule}{kernel}_{unit}' for rule in ('dark', 'udp')
                                                    for kernel in (11, 17) for unit in ('cells', 'image')))}
    copy.update({f'decode_{name}': decode[f'a_{name}'][person] for name in ('center', 'scale')})
    copy.update({f'targets_{name}': targets[f'a_{name}'] for name in (
        'joints', 'visible', 'case', *(f'{rule}_{what}' for rule in ('dark', 'udp') for what in ('target', 'weight')))})
    copy.update({f'warp_{name}': warp[name] for name in (
        'center', 'scale', 'rotation', 'size', 'udp_matrix', 'points_image', 'points_crop_udp', 'cells', 'grid',
        'cells_image_udp')})
    copy.update({f'flip_{name}': array for name, array in flip.items() if name.startswith('ideal_')})
    return {**copy, 'flip_indices': flip['flip_indices']}


def write(name: str, arrays: dict) -> None:
    COMPACT_FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(COMPACT_FOLDER / f'{name}.npz', **arrays)
    print(f'{name}: {(COMPACT_FOLDER / f"{name}.npz").stat().st_size} bytes')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--source', type=Path, default=COMPACT_FOLDER.parent.parent.parent / 'shared' / 'golden')
    parser.add_argument('--float64', type=Path, default=None)
    parser.add_argument('--only', default='', metavar='NAME')
    options = parser.parse_args()
    for name in (options.only,) if options.only else NAMES:
        write(name, compact(name, options.source, options.float64))
    if options.only:
        return
    for name, arrays in compact_geometry(options.source).items():
        write(name, arrays)


if __name__ == '__main__':
    main()
