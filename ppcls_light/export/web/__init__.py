"""The format `web`: a folder with a page that classifies in the browser, by ONNX Runtime Web."""
