"""Opens this checkpoint: transformers.AutoModel.from_pretrained(FOLDER, trust_remote_code=True)."""

try:
    from speechpress.compressor.teachers.auto_model import SpeechpressConfig, SpeechpressModel
except ImportError as error:
    raise ImportError(
        f"this checkpoint is of speechpress's own kind, which transformers alone cannot run ({error}). "
        "Install it with: pip install speechpress"
    ) from error

__all__ = ["SpeechpressConfig", "SpeechpressModel"]
