"""The `openai` client: one call of each kind. The server that answers is the test's own."""

import sys

sys.path.pop(0)  # this folder holds a file of the same name

import openai

print("ready", flush=True)
url = sys.stdin.readline().split()[0]
api = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=20)
messages = [{"role": "user", "content": "what is a class"}]
api.chat.completions.create(model="ngram", messages=messages)
list(api.chat.completions.create(model="ngram", messages=messages, stream=True))
api.completions.create(model="ngram", prompt="a")
api.responses.create(model="ngram", input="a")
api.embeddings.create(model="ngram", input=["a", "b\u00e9"])
api.models.list()
api.models.retrieve("ngram")
api.audio.speech.create(model="ngram", voice="alloy", input="a")
api.audio.transcriptions.create(model="ngram", file=("a.wav", b"RIFF"))
api.images.generate(model="ngram", prompt="a")
api.files.create(file=("a.jsonl", b"{}"), purpose="fine-tune")
api.files.content("file-1")
api.fine_tuning.jobs.create(model="ngram", training_file="file-1")
try:
    api.chat.completions.create(model="other", messages=messages)
    raise SystemExit("another model was permitted")
except openai.PermissionDeniedError as exc:
    print(exc.code, flush=True)
