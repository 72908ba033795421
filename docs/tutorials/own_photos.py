# %% [markdown]
# # From photos to a served model in ten minutes
#
# Photos in folders, one folder per class, are all that is needed. Two commands make a model of them and serve it:
#
# ```sh
# ppcls-light train photos --minutes 3
# ppcls-light serve output/photos/inference
# ```
#
# This notebook runs both, and between them looks at what was made. Put your own folder in place of `photos`; 20
# photos per class are a beginning.

# %%
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("ppcls_light") is None:  # Colab, AI Studio; a wheel's path will do, too
    extras = "cpu,explain,serving"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", f"ppcls_light[{extras}]"], check=True)

# %%
import os

import ppcls_light

SMALL = os.environ.get("PPCLS_LIGHT_TUTORIAL") == "small"  # for tests: seconds

# %%
import base64
import csv
import glob
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request

import matplotlib.pyplot as plt
from IPython.display import display
from PIL import Image

plt.rcParams.update({"figure.dpi": 60})
began = time.perf_counter()
times = {}


def ppcls(arguments):
    """Run a command of ppcls-light as a shell would; print what it says, and note how long it takes."""
    print(f"$ ppcls-light {arguments}\n", flush=True)
    start = time.perf_counter()
    command = [sys.executable, "-m", "ppcls_light", *shlex.split(arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            print(line.replace(os.path.expanduser("~"), "~"), end="")
    assert process.returncode == 0
    times[arguments.split()[0]] = time.perf_counter() - start


# %% [markdown]
# ## The photos
#
# They are 400 photos of clothes in 10 classes, which come with the package (CC0), in folders `train` and `test`.
# Folders of classes alone are split by the command. Photos of one's own are seldom without faults, so three are
# planted here: a file that is cut off, a test photo that is also in `train`, and a shirt that is also a t-shirt.

# %%
ppcls_light.sample_data("clothing10", "photos")
for name in glob.glob("photos/*.txt"):
    os.remove(name)  # lists, which a folder of photos does not have


def photo(split, kind):
    """Return the path of the first photo of a class."""
    return sorted(glob.glob(f"photos/{split}/{kind}/*"))[0]


tested = photo("test", "shoes")
with open(photo("train", "hat"), "rb") as file, open("photos/train/hat/cut_off.jpg", "wb") as cut:
    cut.write(file.read(1500))
shutil.copy(tested, "photos/train/shoes/known_from_test.jpg")
shutil.copy(photo("train", "shirt"), "photos/train/t-shirt/is_a_shirt.jpg")

kinds = sorted(os.listdir("photos/train"))
figure, axes = plt.subplots(2, 5, figsize=(9, 4), layout="constrained")
for kind, axis in zip(kinds, axes.flat):
    axis.imshow(Image.open(photo("test", kind)))
    axis.set_title(kind)
    axis.axis("off")
plt.show()

# %% [markdown]
# ## Training
#
# The command checks the photos, keeps some apart, chooses network, size and epochs for the time that it is given,
# trains, exports, scores the model on the photos that were kept apart, and writes a page.
#
# It starts from weights of ImageNet, 12 MB that are fetched once. The machine that wrote the output below had no
# network: the command says so and starts from random weights, which 250 photos teach little.

# %%
effort = "--epochs 1 --network PPLCNet_x0_25 --size 32 --scratch" if SMALL else "--minutes 3"
ppcls(f"train photos {effort}")

# %% [markdown]
# ## The check
#
# It has found the three. The page `output/photos/check/index.html` shows them with pictures. What is damaged or
# known from the test was left out of the training, and photos of two classes are for you to judge.

# %%
with open("output/photos/check/findings.csv", encoding="utf-8", newline="") as file:
    for row in csv.DictReader(file):
        print(f"{row['kind']:10} {row['split']:6} {row['file']}: {row['detail']} {row['other_file']}")

# %% [markdown]
# ## Curves, and the report
#
# `output/photos/report/report.html` is a page to open in a browser: mistakes with heat maps, doubtful labels,
# calibration, accuracy by class. Two of its pieces:

# %%
display(ppcls_light.Run("output/photos").plot())
confusion = Image.open("output/photos/report/confusion_matrix.png")
confusion.thumbnail((640, 640))
display(confusion)

# %% [markdown]
# ## A heat map
#
# What in a photo speaks for the class that the model gives it:

# %%
ppcls(f"explain output/photos {tested}")
display(Image.open(glob.glob("output/photos/explain/*.png")[0]))

# %% [markdown]
# ## The exported model
#
# The folder `output/photos/inference` is all that a server needs: graph, weights, and `inference.yml` with
# preprocessing and class names.

# %%
for name in sorted(os.listdir("output/photos/inference")):
    size = os.path.getsize(f"output/photos/inference/{name}")
    print(f"{size:10,} bytes  {name}")

# %% [markdown]
# ## Serving
#
# In a terminal this is `ppcls-light serve output/photos/inference`, which prints the address of a page to drop
# photos on. Here the server runs beside the notebook, on a free port (`--port 0`), until it has answered. With
# `curl` the request would be `curl -F file=@photo.jpg http://127.0.0.1:8080/predict`.

# %%
start = time.perf_counter()
arguments = ["serve", "output/photos/inference", "--port", "0", "--workers", "1"]
command = [sys.executable, "-m", "ppcls_light", *arguments]
server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
try:
    for line in server.stdout:
        address = re.search(r"http://[\d.]+:\d+", line)
        if address:
            break
    times["serve, until it is ready"] = time.perf_counter() - start
    with open(tested, "rb") as file:
        body = json.dumps({"image": base64.b64encode(file.read()).decode()}).encode()
    start = time.perf_counter()
    request = urllib.request.Request(f"{address[0]}/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        result = json.load(answer)
    times["one photo by HTTP"] = time.perf_counter() - start
finally:
    server.terminate()
    server.wait()
print(json.dumps(result, indent=2))

# %% [markdown]
# ## Times
#
# Of each command, and of the notebook as a whole. The machine of the output below had two cores.

# %%
times["the whole notebook"] = time.perf_counter() - began
for what, seconds in times.items():
    print(f"{seconds:8.2f} s  {what}")
