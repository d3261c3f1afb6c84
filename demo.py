"""A local page that finds poses on pictures and videos: python demo.py [--detector FILE.onnx] [--ckpt_path CKPT …]."""
import argparse
import os
import signal
import sys
import tempfile
import threading

from src.inference.demo import PoseDemo
from src.inference.demo_page import serve
from src.system.command_line import run_command, say
from src.system.errors import PoseError
from src.system.printing import ArgumentParser

THIS_MACHINE = '127.0.0.1'


def parse_arguments() -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument('--ckpt_path', nargs='+', default=[], metavar='CKPT', help='checkpoints to choose from')
    parser.add_argument('--model_file', nargs='+', default=[], metavar='FILE', help='files of export.py to choose from')
    parser.add_argument('--weights', nargs='+', default=[], metavar='NAME', help='published weights that come first in '
                        'the list (python -m src.checkpoints.zoo list)')
    parser.add_argument('--detector', nargs='+', default=[], metavar='FILE.onnx', help='detectors to choose from: '
                        'YOLOX, RTMDet, NanoDet, YOLOv8, YOLO11')
    parser.add_argument('--recipe', metavar='NAME', help='of checkpoints without a recipe inside')
    parser.add_argument('--device_target', default='auto', help='auto, Ascend, GPU or CPU (default: %(default)s)')
    parser.add_argument('--max_frames', type=int, default=600, metavar='N', help='frames of a video that are taken '
                        '(default: %(default)s)')
    parser.add_argument('--host', default=THIS_MACHINE, help='address to listen on (default: %(default)s, which only '
                        'this machine reaches)')
    parser.add_argument('--port', type=int, default=7860, help='0 takes a free one (default: %(default)s)')
    parser.add_argument('--open', action='store_true', help='open the page in the browser')
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.max_frames < 1:
        raise PoseError(f'--max_frames should be 1 or more, is {arguments.max_frames}')
    if not 0 <= arguments.port <= 65535:
        raise PoseError(f'--port should be from 0 to 65535, is {arguments.port}')
    # The folder of the uploads is removed however the page ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with tempfile.TemporaryDirectory(prefix='pose_demo_') as folder:
        results = os.path.join(folder, 'results')
        os.mkdir(results)
        demo = PoseDemo([*arguments.model_file, *arguments.ckpt_path], arguments.weights, arguments.detector,
                        folder=results, recipe=arguments.recipe, device=arguments.device_target,
                        max_frames=arguments.max_frames)
        page, (_, address, _) = serve(demo, host=arguments.host, port=arguments.port, folder=folder,
                                      inbrowser=arguments.open)
        say(f'the page is at {address} (Ctrl-C ends it)')
        if arguments.host != THIS_MACHINE:
            say(f'warning: others in the network can use it too; --host {THIS_MACHINE} keeps it to this machine')
        try:
            threading.Event().wait()
        finally:
            page.close(verbose=False)


if __name__ == '__main__':
    run_command(main)
