"""Networks of Hugging Face's transformers as backbones: for texts, pictures and recordings."""
