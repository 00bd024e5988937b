"""Files with recordings, of every kind: ``read_recording``."""

from __future__ import annotations

from nanospan.export.recording_files import RecordingFileError, read_recording
from nanospan_fuzz.inputs import as_file, check_message

READS_FILES = True


def target(data: bytes) -> None:
    """Any file gives a RecordingFileError, or operations with names and samples."""
    try:
        recording = read_recording(as_file(data))
    except RecordingFileError as error:
        check_message(error)
        return
    for operation in recording.operations:
        assert operation.operation
        assert operation.histogram.count >= 0
        samples = operation.samples()
        if samples is not None:
            assert len(samples.durations) == 8 * len(samples)
