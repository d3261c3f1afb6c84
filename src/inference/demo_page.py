"""The page of demo.py, made with Gradio. It needs nothing from other servers and tells nobody that it is used."""
import html
import os
import socket
from typing import Any, List, Optional

from ..system.errors import MissingPackageError, PoseError
from ..system.printing import printable
from .demo import AUTOMATIC, TRACKINGS, Choices, Outcome, PoseDemo
from .drawings import LABELS, DrawingOptions

TITLE = 'Human poses'
# Of an upload.
MAX_UPLOAD = '500mb'
# Seconds from one removal of old uploads to the next, and their age then.
CLEANING = (600, 3600)
NO_DETECTOR = ('Without a detector the whole picture is taken for one person. `--detector FILE.onnx` adds one '
               '(docs/inference.md).')
# On a wide page the results stand beside the rest; on a narrow one between the upload and the settings.
CSS = '''
.gradio-container { --body-text-color-subdued: #5f6672; --block-info-text-color: #5f6672; }
.dark .gradio-container { --body-text-color-subdued: #a4abb8; --block-info-text-color: #a4abb8; }
.gradio-container > main { max-width: 1320px; margin: auto; }
#layout { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1rem; }
@media (min-width: 860px) {
  #layout { grid-template: "upload results" auto "settings results" 1fr / minmax(0, 2fr) minmax(0, 3fr); }
  #upload { grid-area: upload; } #results_column { grid-area: results; } #settings { grid-area: settings; }
}
.headline { font-size: 1.35rem; font-weight: 600; line-height: 1.3; }
.notes { color: var(--body-text-color-subdued); font-size: 0.9rem; overflow-wrap: anywhere; }
.problem { border-left: 4px solid #b42318; background: color-mix(in srgb, #b42318 8%, transparent);
           padding: 0.6rem 0.8rem; border-radius: 4px; overflow-wrap: anywhere; }
.waiting { color: var(--body-text-color-subdued); }
#table [role=gridcell], #table [role=columnheader] { white-space: nowrap; }
footer { display: none !important; }
'''
WAITING = '<div class="waiting">Choose a picture or a video, then “Find poses”.</div>'


def build_page(demo: PoseDemo) -> Any:
    """Return the page as Gradio's Blocks, which `serve` launches.

    Raises:
        MissingPackageError: Gradio is not installed.
    """
    gradio = _import_gradio()
    first = demo.thresholds(demo.weights[0])
    with gradio.Blocks(title=TITLE, analytics_enabled=False, delete_cache=CLEANING, fill_width=True) as page:
        outcome, used_tab = gradio.State(None, time_to_live=CLEANING[1]), gradio.State('picture')
        gradio.Markdown(f'# {TITLE}')
        with gradio.Row(elem_id='layout'):
            with gradio.Column(elem_id='upload'):
                with gradio.Tabs():
                    with gradio.Tab('Picture') as picture_tab:
                        picture = gradio.Image(sources=['upload', 'webcam', 'clipboard'], label='Picture', height=300,
                                               buttons=[], elem_id='picture')
                    with gradio.Tab('Video') as video_tab:
                        video = gradio.Video(sources=['upload', 'webcam'], label='Short video', height=300,
                                             include_audio=True, buttons=[], elem_id='video')
                        tracking = gradio.Dropdown(list(TRACKINGS), value='off', label='Follow people',
                                                   info='Numbers that stay, poses that do not shake.')
                        every = gradio.Slider(1, 10, value=1, step=1, label='Detect in every n-th frame')
                start = gradio.Button('Find poses', variant='primary', elem_id='start')
            with gradio.Column(elem_id='results_column'):
                status = gradio.HTML(WAITING, elem_id='status')
                drawn = gradio.Image(label='Poses', interactive=False, type='filepath', visible=False,
                                     buttons=['download', 'fullscreen'], elem_id='drawn')
                played = gradio.Video(label='Poses', interactive=False, buttons=['download'], elem_id='played',
                                      visible=False)
                table = gradio.Dataframe(label='People', interactive=False, visible=False, elem_id='table')
                results = gradio.DownloadButton('Download results.json', visible=False, elem_id='results')
            with gradio.Column(elem_id='settings'):
                weights = gradio.Dropdown(demo.weights, value=demo.weights[0], label='Weights',
                                          info='Published ones are downloaded at their first use.')
                detector = gradio.Dropdown(demo.detectors, value=demo.detectors[0], label='Detector of people',
                                           info=NO_DETECTOR if len(demo.detectors) == 1 else None)
                runtime = gradio.Dropdown(demo.runtimes, value=AUTOMATIC, label='Runtime',
                                          info='Of the detector and of exported networks.')
                with gradio.Accordion('Thresholds', open=True):
                    boxes_above = gradio.Slider(0.05, 0.95, value=demo.detector_threshold(demo.detectors[0]), step=0.01,
                                                label='Boxes of the detector')
                    people_above = gradio.Slider(0, 1, value=first.person, step=0.01, label='People',
                                                 info='Mean score of the keypoints.')
                    keypoints_above = gradio.Slider(0, 1, value=first.keypoint, step=0.01, label='Keypoints')
                with gradio.Accordion('Drawing', open=False):
                    labels = gradio.Radio(list(LABELS), value='number', label='Labels')
                    show_boxes = gradio.Checkbox(True, label='Boxes')
                    by_person = gradio.Checkbox(False, label='A color for each person')
                    is_black = gradio.Checkbox(False, label='On black')
        for upload in (picture, video):
            # The uploaded file as it is: Gradio would decode it and write it anew, without its EXIF data.
            upload.preprocess = lambda payload: payload and payload.path

        options = [weights, detector, runtime, boxes_above, people_above, keypoints_above, labels, show_boxes,
                   by_person, is_black, tracking, every]
        shown = [outcome, status, drawn, played, table, results]

        def show(found: Optional[Outcome], message: str) -> list:
            if found is None:
                return [None, message, *(gradio.update(visible=False, value=None) for _ in shown[2:])]
            return [found, message, gradio.update(visible=found.picture is not None, value=found.picture),
                    gradio.update(visible=found.video is not None, value=found.video),
                    gradio.update(visible=bool(found.rows), value={'headers': list(found.columns), 'data': found.rows}),
                    gradio.update(visible=True, value=found.results)]

        def find(which: str, picture_path: Optional[str], video_path: Optional[str], *values) -> list:
            try:
                found = demo.run(video_path if which == 'video' else picture_path, _choices(*values))
                return show(found, _summary(found))
            except (ValueError, OSError, ImportError, MemoryError) as error:
                return show(None, _problem(error))

        def draw_again(found: Optional[Outcome], *values) -> list:
            if found is None or found.frame is None:
                return [gradio.skip()] * len(shown)
            found = demo.redraw(found, _choices(*values))
            return show(found, _summary(found))

        def default_thresholds(name: str) -> list:
            try:
                return list(demo.thresholds(name))
            except (ValueError, OSError, ImportError) as error:
                gradio.Warning(printable(str(error)))
                return [gradio.skip(), gradio.skip()]

        # One file at a time, in the order of the clicks of all users.
        private = {'api_visibility': 'private', 'concurrency_limit': 1, 'concurrency_id': 'networks'}
        start.click(find, [used_tab, picture, video, *options], shown, **private, show_progress_on=[status])
        for control in (people_above, keypoints_above):
            control.release(draw_again, [outcome, *options], shown, **private, show_progress='hidden')
        for control in (labels, show_boxes, by_person, is_black):
            control.input(draw_again, [outcome, *options], shown, **private, show_progress='hidden')
        weights.input(default_thresholds, weights, [people_above, keypoints_above], **private)
        detector.input(demo.detector_threshold, detector, boxes_above, **private)
        picture_tab.select(lambda: 'picture', None, used_tab, api_visibility='private', show_progress='hidden')
        video_tab.select(lambda: 'video', None, used_tab, api_visibility='private', show_progress='hidden')
    return page


def serve(demo: PoseDemo, *, host: str, port: int, folder: str, **options) -> Any:
    """Launch the page; return it and at once what Gradio returns: the application, its address and that of a share.

    Args:
        port: 0 takes a free one.
        folder: for uploads; removing it is the caller's.
        options: further ones of Gradio's `launch`.

    Raises:
        PoseError: the port is in use, or the address is not one of this machine.
        MissingPackageError: Gradio is not installed.
    """
    os.environ['GRADIO_TEMP_DIR'] = folder
    # Gradio asks its own page whether it is there, which no proxy could answer.
    for name in ('no_proxy', 'NO_PROXY'):
        os.environ[name] = ','.join(filter(None, [os.environ.get(name), '127.0.0.1', 'localhost']))
    gradio = _import_gradio()
    # Fonts of the system: Gradio's own are fetched from another server.
    fonts = {'font': ['system-ui', 'sans-serif'], 'font_mono': ['ui-monospace', 'monospace']}
    page = build_page(demo)
    page.queue(api_open=False, default_concurrency_limit=1)
    try:
        return page, page.launch(
            server_name=host, server_port=port or _free_port(host), share=False, quiet=True, prevent_thread_lock=True,
            ssr_mode=False, footer_links=[], show_error=True, max_file_size=MAX_UPLOAD, enable_monitoring=False,
            css=CSS, theme=gradio.themes.Base(**fonts), **options)
    except OSError as error:
        raise PoseError(f'the page cannot be served at {host}, port {port}: the port is in use, or the address is not '
                        'one of this machine (--port 0 takes a free port)') from error


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as server:
        return server.getsockname()[1]


def _import_gradio():
    # Read when Gradio is imported.
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    os.environ.setdefault('HF_HUB_DISABLE_TELEMETRY', '1')
    try:
        import gradio
    except ImportError as error:
        raise MissingPackageError(f'the page needs Gradio ({error}): pip install -r requirements-demo.txt') from error
    return gradio


def _choices(weights, detector, runtime, boxes_above, people_above, keypoints_above, labels, show_boxes, by_person,
             is_black, tracking, every) -> Choices:
    drawing = DrawingOptions(float(people_above), float(keypoints_above), show_boxes=bool(show_boxes), labels=labels,
                             by_person=bool(by_person), is_black=bool(is_black))
    return Choices(weights, detector, drawing, runtime, float(boxes_above), tracking, int(every))


def _summary(outcome: Outcome) -> str:
    return (f'<div class="headline">{html.escape(outcome.headline)}</div>'
            f'<div class="notes">{"<br>".join(_escaped(outcome.notes))}</div>')


def _problem(error: Exception) -> str:
    return f'<div class="problem" role="alert">{"".join(_escaped([str(error)]))}</div>'


def _escaped(texts: List[str]) -> List[str]:
    return [html.escape(printable(text)) for text in texts]
