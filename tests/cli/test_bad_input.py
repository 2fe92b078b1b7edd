"""What was tried, and what was said: every wrong input ends with one line and a non-zero exit status."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpucnn.cli.main import main
from tests.data.idx_files import write_small_mnist


def prepare(folder: Path) -> None:
    """Files to go wrong with: runs, images, data sets."""
    assert main(["train", "--model", "mlp", "--epochs", "1", "--out", "good", "--quiet"]) == 0
    for name in ("cut", "noconfig", "foreign", "oldconfig", "otherscale"):
        shutil.copytree(folder / "good", folder / name)
    (folder / "cut" / "model.safetensors").write_bytes((folder / "good" / "model.safetensors").read_bytes()[:5000])
    (folder / "noconfig" / "config.json").unlink()
    (folder / "foreign" / "config.json").write_text("not json")
    config = json.loads((folder / "good" / "config.json").read_text())
    del config["data"]
    (folder / "halfconfig").mkdir()
    scaled = json.loads((folder / "good" / "config.json").read_text())
    scaled["preprocess"]["full_scale"] = 200
    (folder / "otherscale" / "config.json").write_text(json.dumps(scaled))
    (folder / "halfconfig" / "config.json").write_text(json.dumps(config))

    (folder / "text.png").write_text("this is no image")
    Image.new("L", (8, 8)).save(folder / "whole.png")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:40])
    np.save(folder / "volume.npy", np.zeros((2, 3, 4, 5)))
    np.save(folder / "loud.npy", np.full((8, 8), 300))
    np.save(folder / "nan.npy", np.full((8, 8), np.nan))
    (folder / "file").write_text("")

    for name in ("mnist", "cutmnist", "swapped", "labels"):
        (folder / name).mkdir()
        write_small_mnist(folder / name)
    images, labels = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
    (folder / "cutmnist" / images).write_bytes((folder / "cutmnist" / images).read_bytes()[:-1000])
    content = {name: (folder / "swapped" / name).read_bytes() for name in (images, labels)}
    (folder / "swapped" / images).write_bytes(content[labels])
    wrong = bytearray((folder / "labels" / labels).read_bytes())
    wrong[8] = 77
    (folder / "labels" / labels).write_bytes(wrong)
    (folder / "cifar").mkdir()
    (folder / "cifar" / "data_batch_1.bin").write_bytes(b"\0" * 3072)
    (folder / "cifar" / "test_batch.bin").write_bytes(b"\0" * 3073)
    (folder / "unknown.toml").write_text("epochs = 1\nbatch-size = 32\n")
    (folder / "table.toml").write_text("[training]\nepochs = 1\n")
    (folder / "wrong.toml").write_text('epochs = "10"\n')
    (folder / "precious").mkdir()
    (folder / "precious" / "thesis.txt").write_text("all of it")
    fewer = {**json.loads((folder / "good" / "config.json").read_text()), "class_names": ["a"]}
    (folder / "oldconfig" / "config.json").write_text(json.dumps(fewer))


TABLE: list[tuple[str, int, str]] = [
    ("fly", 2, "gpucnn: unknown command 'fly', expected one of train, data, "),
    ("TRIAN --epochs 3", 2, "gpucnn: unknown command 'TRIAN'; did you mean train?; see gpucnn --help"),
    ("--epochs 3", 2, "gpucnn: unknown option '--epochs'; see gpucnn --help"),
    ("train ../photos --epochs 3", 2, "gpucnn train: unexpected '../photos'; did you mean --data ../photos?; see gpucnn train --help"),
    ("train RESNET18", 2, "gpucnn train: unexpected 'RESNET18'; did you mean --model RESNET18?; see gpucnn train --help"),
    ("train --batch 32 --epochs 1", 2, "gpucnn train: unknown option '--batch'; did you mean --batch-size?; see gpucnn train --help"),
    ("train --Epcohs=3", 2, "gpucnn train: unknown option '--Epcohs'; did you mean --epochs?; see gpucnn train --help"),
    ("verify-resume --step 3", 2, "gpucnn verify-resume: unknown option '--step'; did you mean --steps?; see gpucnn verify-resume --help"),
    ("train --model lenet", 2, "gpucnn train: argument --model: unknown name 'lenet', expected one of lenet5, simplecnn, mlp, vgg_mini, "),
    ("data", 2, "gpucnn data: the following arguments are required: FOLDER"),
    ("data nowhere", 2, "gpucnn data: argument FOLDER: unknown data set 'nowhere', expected one of digits, mnist, "),
    ("data ./nowhere", 1, "gpucnn data: nowhere: no such folder; name the one that holds a folder of images for each class"),
    ("data text.png", 2, "gpucnn data: argument FOLDER: unknown data set 'text.png', expected one of digits, mnist, "),
    ("data precious", 1, "gpucnn data: precious: no class folders in it; expected two or more"),
    ("data pack precious", 2, "gpucnn data: pack needs --to DIR, a new folder for the tars; see gpucnn data --help"),
    ("data pack precious --to x --json y", 2, "gpucnn data: --json does not go with pack; leave it out; see gpucnn data --help"),
    ("data pack precious more --to x", 2, "gpucnn data: unrecognized arguments: more; see gpucnn data --help"),
    ("data pack nowhere --to x", 1, "gpucnn data: nowhere: no such folder; name the one that holds a folder of images for each class"),
    ("data pack text.png --to x", 1, "gpucnn data: text.png: a file, not a folder; name the one that holds a folder of images for each class"),
    ("data precious precious", 2, "gpucnn data: unrecognized arguments: precious; see gpucnn data --help"),
    ("data precious --to x", 2, "gpucnn data: --to goes with pack: gpucnn data pack FOLDER --to DIR; see gpucnn data --help"),
    ("data pack precious --to x --size 0", 2, "gpucnn data: argument --size: expected a whole number >= 1, got '0'"),
    ("data pack precious --to mnist", 1, "gpucnn data: mnist: has files in it; give a new folder"),
    ("data pack precious --to x", 1, "gpucnn data: precious: no class folders in it; expected two or more"),
    ("train --shuffle window:2", 1, "gpucnn train: shuffle is window:2, but digits is in no tars; leave it out, or choose data folder"),
    ("data cifar10 --data-dir cifar", 1, "gpucnn data: cifar/data_batch_1.bin: "),
    ("data precious --json nowhere/x.json", 1, "gpucnn data: nowhere/x.json: cannot be written (no folder nowhere); make it first"),
    ("train --data precious --data-dir mnist", 1, "gpucnn train: data: precious is a folder of images, and mnist is given as the data set's folder, too; give one of them"),
    ("train --data digits --decode simplejpeg", 1, "gpucnn train: decode is simplejpeg, but digits has no image files to decode; leave it out, or choose data folder"),
    ("bench --workers 2", 1, "gpucnn bench: --workers 2 is for reading images: give --loading DIR, too"),
    ("train --data digits --skip-unreadable", 1, "gpucnn train: skip_unreadable is true, but digits has no files of single images; leave it out, or choose data folder"),
    ("train --data coco", 2, "gpucnn train: argument --data: unknown data set 'coco', expected one of digits, mnist, fashion-mnist, cifar10"),
    ("export", 2, "gpucnn export: the following arguments are required: RUN"),
    ("export nowhere", 1, "gpucnn export: nowhere: no run there (no config.json); give the folder that gpucnn train made"),
    ("export cut", 1, "gpucnn export: cut/model.safetensors: not a model that can be read ("),
    ("export good --out precious", 1, "gpucnn export: precious: cannot be written (a folder); give the name of a file"),
    ("export good --out precious/thesis.txt", 1, "gpucnn export: precious/thesis.txt: holds something else than an ONNX file of gpucnn; choose another --out"),
    ("export good --out nowhere/x.onnx", 1, "gpucnn export: nowhere/x.onnx: cannot be written (no folder nowhere); make it first"),
    ("export good --opset 12", 1, "gpucnn export: opset must be from 13 to "),
    ("export good --opset new", 2, "gpucnn export: argument --opset: expected a whole number >= 1, got 'new'"),
    ("export good --calibrate 5", 1, "gpucnn export: --calibrate is for --int8; give both"),
    ("export good --int8 --calibrate 0", 2, "gpucnn export: argument --calibrate: expected a whole number >= 1, got '0'"),
    ("export good --raw --float", 2, "gpucnn export: argument --float: not allowed with argument --raw"),
    ("export good --format onxx", 2, "gpucnn export: argument --format: unknown name 'onxx', expected one of onnx"),
    ("export good --format numpy --raw", 1, "gpucnn export: --raw is for --format onnx; leave it out"),
    ("export good --format numpy --out precious", 1, "gpucnn export: numpy_predictor: the code's file must end in .py, got precious"),
    ("export good --format safetensors --out precious/thesis.txt", 1, "gpucnn export: precious/thesis.txt: holds something else than exported weights"),
    ("export good --format torch-names", 1, "gpucnn export: "),
    ("export good --format safetensors --data-dir .", 1, "gpucnn export: --data-dir is for files that are tried on images"),
    ("export good --weights worst", 2, "gpucnn export: argument --weights: unknown name 'worst', expected one of best, last"),
    ("export good --data-dir elsewhere", 1, "gpucnn export: --data-dir: the digits come with gpucnn, and no folder is read; leave it out"),
    ("play nowhere", 1, "gpucnn play: nowhere: no run there (no config.json); give the folder that gpucnn train made"),
    ("play cut", 1, "gpucnn play: cut/model.safetensors: not a model that can be read ("),
    ("play good --export precious", 1, "gpucnn play: precious: holds other things, e.g. thesis.txt; give a folder that is new or empty"),
    ("play good --export file", 1, "gpucnn play: file: a file, not a folder; give a folder that is new or empty"),
    ("play good --port 0", 2, "gpucnn play: argument --port: expected a whole number >= 1, got '0'"),
    ("play good --port 65536", 2, "gpucnn play: argument --port: expected a port from 1 to 65535, got '65536'"),
    ("play good other", 2, "gpucnn play: unexpected 'other'; see gpucnn play --help"),
    ("serve", 2, "gpucnn serve: the following arguments are required: RUN; see gpucnn serve --help"),
    ("serve nowhere", 1, "gpucnn serve: nowhere: no run there (no config.json); give the folder that gpucnn train made"),
    ("serve cut", 1, "gpucnn serve: cut/model.safetensors: not a model that can be read ("),
    ("serve good --port 65536", 2, "gpucnn serve: argument --port: expected a port from 0 to 65535, got '65536'"),
    ("serve good --port 80.5", 2, "gpucnn serve: argument --port: expected a whole number >= 0, got '80.5'"),
    ("serve good --host no.such.host.", 1, "gpucnn serve: no.such.host. port 8000 cannot be had ("),
    ("serve good --max-batch 0", 2, "gpucnn serve: argument --max-batch: expected a whole number >= 1, got '0'"),
    ("serve good --wait-ms -1", 2, "gpucnn serve: argument --wait-ms: expected a number >= 0, got '-1'"),
    ("serve good --max-bytes 10", 2, "gpucnn serve: argument --max-bytes: expected a size with its unit, e.g. 4GB, 512MB or 2GiB, got '10'"),
    ("serve good --max-pixels 5X", 2, "gpucnn serve: argument --max-pixels: expected a number of pixels, e.g. 50M, 800k or 640000, got '5X'"),
    ("serve good --max-pixels 1G", 1, "gpucnn serve: max_pixels must be at most 178,956,970, as Pillow reads no more, got 1,000,000,000"),
    ("serve good --queue 0", 2, "gpucnn serve: argument --queue: expected a whole number >= 1, got '0'"),
    ("serve good --workers 2", 2, "gpucnn serve: unknown option '--workers'; see gpucnn serve --help"),
    ("train --epochs -3", 2, "gpucnn train: argument --epochs: expected a whole number >= 1, got '-3'"),
    ("train --epochs 0", 2, "gpucnn train: argument --epochs: expected a whole number >= 1, got '0'"),
    ("train --epochs 2.5", 2, "gpucnn train: argument --epochs: expected a whole number >= 1, got '2.5'"),
    ("train --batch-size none", 2, "gpucnn train: argument --batch-size: expected a whole number >= 1, got 'none'"),
    ("train --lr -0.1", 2, "gpucnn train: argument --lr: expected a number > 0 or find, got '-0.1'"),
    ("train --lr nan", 2, "gpucnn train: argument --lr: expected a number > 0 or find, got 'nan'"),
    ("lr-find --lr 0.1", 1, "gpucnn lr-find: --lr is what is looked for; leave it out"),
    ("lr-find --steps 9", 2, "gpucnn lr-find: argument --steps: expected a whole number >= 10, got '9'"),
    ("lr-find --out lr.xyz", 1, "gpucnn lr-find: lr.xyz: no kind of picture that gpucnn writes; end it in .png, .svg or .pdf"),
    ("lr-find --out nowhere/lr.png", 1, "gpucnn lr-find: nowhere/lr.png: cannot be written (no folder nowhere); make it first"),
    ("report", 2, "gpucnn report: the following arguments are required: RUN"),
    ("report nowhere", 1, "gpucnn report: nowhere: no run there (no config.json); give the folder that gpucnn train made"),
    ("report cut", 1, "gpucnn report: cut/model.safetensors: not a model that can be read ("),
    ("report good --weights worst", 2, "gpucnn report: argument --weights: unknown name 'worst', expected one of best, last"),
    ("report good --data-dir elsewhere", 1, "gpucnn report: --data-dir: the digits come with gpucnn, and no folder is read; leave it out"),
    ("report good --out precious", 1, "gpucnn report: precious: cannot be written (a folder); give the name of a file"),
    ("report good --out nowhere/page.html", 1, "gpucnn report: nowhere/page.html: cannot be written (no folder nowhere); make it first"),
    ("plot", 2, "gpucnn plot: the following arguments are required: RUN"),
    ("plot nowhere", 1, "gpucnn plot: nowhere: no run there (no config.json); give the folder that gpucnn train made"),
    ("plot good --out nowhere/curves.png", 1, "gpucnn plot: nowhere/curves.png: cannot be written (no folder nowhere); make it first"),
    ("evaluate good --json nowhere/figures.json", 1, "gpucnn evaluate: nowhere/figures.json: cannot be written (no folder nowhere); make it first"),
    ("plot nowhere --out curves.jpg", 1, "gpucnn plot: curves.jpg: no kind of picture that gpucnn writes; end it in .png, .svg or .pdf"),
    ("sweep nothing.toml", 1, "gpucnn sweep: nothing.toml: no such file; give a TOML file with settings such as epochs = 10"),
    ("sweep unknown.toml", 1, "gpucnn sweep: unknown.toml: unknown setting 'batch-size'; did you mean batch_size?"),
    ("sweep wrong.toml --trials 0", 2, "gpucnn sweep: argument --trials: expected a whole number >= 1, got '0'"),
    ("train --lr find --schedule cosine:end=1", 1, "gpucnn train: schedule cosine:end=1: end, the last rate, must not be above peak=0.003, got 1"),
    ("train --seed -1", 2, "gpucnn train: argument --seed: expected a whole number from 0 to 2^64 - 1, got '-1'"),
    ("train --optimizer rmspro", 2, "gpucnn train: argument --optimizer: unknown name 'rmspro', expected one of adam, adamw, sgd, rmsprop, adagrad, lion; did you mean rmsprop?"),
    ("train --optimizer sgd:momentun=0.5", 2, "gpucnn train: argument --optimizer: unknown setting of sgd 'momentun', expected one of momentum, nesterov; did you mean momentum?"),
    ("train --optimizer sgd:momentum=1.5", 2, "gpucnn train: argument --optimizer: momentum must be a number from 0 to below 1, got 1.5"),
    ("train --augment shift", 2, "gpucnn train: argument --augment: shift needs max_shift; write shift:VALUE, or shift:max_shift=VALUE"),
    ("train --augment flip shifft:2", 2, "gpucnn train: argument --augment: unknown name 'shifft', expected one of crop, shift, flip, alternating_flip, rotate, affine, jitter, randaugment, cutout, erase; did you mean shift?"),
    ("train --augment cutout:0", 2, "gpucnn train: argument --augment: size must be an int >= 1, got 0"),
    ("train --schedule step_decay:2.5", 2, "gpucnn train: argument --schedule: step_decay: every: expected a whole number, got '2.5'"),
    ("train --schedule cosine:end=0.01", 1, "gpucnn train: schedule cosine:end=0.01: end, the last rate, must not be above peak=0.003, got 0.01"),
    ("train --schedule plateau --warmup 1", 1, "gpucnn train: schedule plateau: it has no warm-up, as it is no function of the step; choose another, or warmup 0, got 1"),
    ("train --clip-norm 1 --clip-value 1", 1, "gpucnn train: clip_norm is 1 and clip_value 1; choose one of them"),
    ("train --average 1", 2, "gpucnn train: argument --average: expected a number between 0 and 1, got '1'"),
    ("train --mix cutmx", 2, "gpucnn train: argument --mix: unknown name 'cutmx', expected one of mixup, cutmix; did you mean cutmix?"),
    ("train --validation 1", 2, "gpucnn train: argument --validation: expected a number from 0 to below 1, got '1'"),
    ("train --validation 0.99999", 1, "gpucnn train: split: a share of 1e-05 of 1437 images leaves one part empty; choose another share or add images"),
    ("train --workers -1", 2, "gpucnn train: argument --workers: expected a whole number >= 0, got '-1'"),
    ("train --accumulate 0", 2, "gpucnn train: argument --accumulate: expected a whole number >= 1, got '0'"),
    ("train --checkpoint-every -1", 2, "gpucnn train: argument --checkpoint-every: expected a whole number >= 0, got '-1'"),
    ("train --config nothing.toml", 1, "gpucnn train: nothing.toml: no such file; give a TOML file with settings such as epochs = 10"),
    ("train --recipe fest", 1, "gpucnn train: unknown recipe 'fest', expected one of fast; did you mean fast?"),
    ("train --recipe fast --model mlp", 1, "gpucnn train: whiten is 3, but mlp has no convolution; leave it out"),
    ("train --config precious", 1, "gpucnn train: precious: cannot be read (Is a directory)"),
    ("train --config file/deeper.toml", 1, "gpucnn train: file/deeper.toml: cannot be read (Not a directory)"),
    ("train --config cut.png", 1, "gpucnn train: cut.png: line 1 is not UTF-8; save the file as UTF-8 text"),
    ("train --config text.png", 1, "gpucnn train: text.png: not TOML that can be read (Expected '=' after a key in a key/value pair (at line 1, column 6))"),
    ("train --config unknown.toml", 1, "gpucnn train: unknown.toml: unknown setting 'batch-size'; did you mean batch_size?"),
    ("train --config table.toml", 1, "gpucnn train: table.toml: unknown setting 'training'; expected one of model, data, data_dir,"),
    ("train --config wrong.toml --seed 1", 1, "gpucnn train: wrong.toml: epochs: expected a whole number >= 1, got '10'"),
    ("train --speed 9", 2, "gpucnn train: unknown option '--speed'; "),
    ("train --device tpu", 1, 'gpucnn train: unknown device \'tpu\'; expected "auto", "cpu", "cuda" or "cuda:N", e.g. "cuda:1"'),
    ("train --data mnist", 1, "gpucnn train: no train-images-idx3-ubyte, no train-labels-idx1-ubyte, no t10k-images-idx3-ubyte, no t10k-labels-idx1-ubyte in data/mnist; put the four files"),
    ("train --data mnist --data-dir nowhere", 1, "gpucnn train: no train-images-idx3-ubyte, no train-labels-idx1-ubyte, no t10k-images-idx3-ubyte, no t10k-labels-idx1-ubyte in nowhere;"),
    ("train --data mnist --data-dir cutmnist", 1, "gpucnn train: cutmnist/train-images-idx3-ubyte: the header promises 200 x 28 x 28 = 156,800 bytes, more than the file can hold"),
    ("train --data mnist --data-dir swapped", 1, "gpucnn train: swapped/train-images-idx3-ubyte: magic number 0x00000801, expected 0x00000803"),
    ("train --data mnist --data-dir labels", 1, "gpucnn train: labels/train-labels-idx1-ubyte: label 77 found, expected 0 to 9"),
    ("train --data cifar10 --data-dir cifar", 1, "gpucnn train: cifar/data_batch_1.bin: 3,072 bytes, expected a multiple of 3,073"),
    ("train --data cifar10 --data-dir mnist", 1, "gpucnn train: no data_batch_1.bin in mnist; put data_batch_1.bin to data_batch_5.bin and test_batch.bin"),
    ("train --out file", 1, "gpucnn train: file: cannot write a run there (File exists); choose another --out"),
    ("train --out file/deeper", 1, "gpucnn train: file/deeper: cannot write a run there (Not a directory); choose another --out"),
    ("evaluate nowhere", 1, "gpucnn evaluate: nowhere: no run there (no config.json); give the folder that gpucnn train made"),
    ("evaluate noconfig", 1, "gpucnn evaluate: noconfig: no run there (no config.json)"),
    ("evaluate foreign", 1, "gpucnn evaluate: foreign/config.json: cannot be read ("),
    ("evaluate halfconfig", 1, "gpucnn evaluate: halfconfig/config.json: no entry 'data' as gpucnn train writes it"),
    ("evaluate otherscale", 1, "gpucnn evaluate: otherscale/config.json: its preprocess is not that of digits, Preprocess("),
    ("predict oldconfig whole.png", 1, "gpucnn predict: oldconfig/config.json: 1 class_names, but the model has 10 outputs"),
    ("train --out precious", 1, "gpucnn train: precious: holds files that are no run of gpucnn; choose another --out"),
    ("train --model mlp --epochs 1 --lr 1e30 --quiet --out wild", 1, "gpucnn train: step 2 (epoch 1, batch 2): the loss became nan; first not finite is the output of "),
    ("summary mlp --input 1x99999999999x99999999999", 2, "gpucnn summary: argument --input: expected sizes of at most 4096"),
    ("evaluate cut", 1, "gpucnn evaluate: cut/model.safetensors: not a model that can be read ("),
    ("evaluate", 2, "gpucnn evaluate: the following arguments are required: RUN"),
    ("predict good", 2, "gpucnn predict: the following arguments are required: IMAGE"),
    ("predict good nothing.png", 1, "gpucnn predict: nothing.png: no such image file"),
    ("predict good text.png", 1, "gpucnn predict: text.png: not an image that can be read (cannot identify image file 'text.png'); give PNG, JPEG or .npy"),
    ("predict good cut.png", 1, "gpucnn predict: cut.png: not an image that can be read ("),
    ("predict good mnist", 1, "gpucnn predict: mnist: no images in this folder; give a folder with files that end in .png, .jpg or .npy"),
    ("predict good volume.npy", 1, "gpucnn predict: volume.npy: expected one image (H, W), (C, H, W) or (H, W, C), got (2, 3, 4, 5)"),
    ("predict good loud.npy", 1, "gpucnn predict: loud.npy: expected integers from 0 to 255 or floats from 0 to 1, got int64 from 300.0 to 300.0"),
    ("predict good nan.npy", 1, "gpucnn predict: nan.npy: expected integers from 0 to 255 or floats from 0 to 1, got float64 from nan to nan"),
    ("predict good whole.png --top 0", 2, "gpucnn predict: argument --top: expected a whole number >= 1, got '0'"),
    ("predict good whole.png --csv nowhere/answers.csv", 1, "gpucnn predict: nowhere/answers.csv: cannot be written (no folder nowhere); make it first"),
    ("predict good whole.png --json precious", 1, "gpucnn predict: precious: cannot be written (a folder); give the name of a file"),
    ("explain good", 2, "gpucnn explain: the following arguments are required: IMAGE"),
    ("explain good nothing.png", 1, "gpucnn explain: nothing.png: no such image file"),
    ("explain good mnist", 1, "gpucnn explain: mnist: no images in this folder; give a folder with files that end in .png, .jpg or .npy"),
    ("explain good whole.png --layer hiden", 1, "gpucnn explain: --layer: MLP has no layer 'hiden'; did you mean hidden?"),
    ("explain good whole.png --layer hidden", 1, "gpucnn explain: explanation: MLP has no layer that gives maps"),
    ("explain good whole.png --out file", 1, "gpucnn explain: file: cannot be written (File exists); a file is in the folder's place: move it away"),
    ("explain nowhere whole.png", 1, "gpucnn explain: nowhere"),
    ("evaluate oldconfig", 1, "gpucnn evaluate: oldconfig/config.json: 1 class_names, but the model has 10 outputs"),
    ("evaluate good --csv nowhere/confusion.csv", 1, "gpucnn evaluate: nowhere/confusion.csv: cannot be written (no folder nowhere); make it first"),
    ("evaluate good --json precious", 1, "gpucnn evaluate: precious: cannot be written (a folder); give the name of a file"),
    ("evaluate good --split valid", 2, "gpucnn evaluate: argument --split: unknown name 'valid', expected one of test, train"),
    ("evaluate good --worst -1", 2, "gpucnn evaluate: argument --worst: expected a whole number >= 1, got '-1'"),
    ("runs nowhere", 1, "gpucnn runs: nowhere: cannot be read (No such file or directory); give the folder that holds runs"),
    ("runs file", 1, "gpucnn runs: file: cannot be read (Not a directory); give the folder that holds runs"),
    ("runs --json nowhere/runs.json .", 1, "gpucnn runs: nowhere/runs.json: cannot be written (no folder nowhere); make it first"),
    ("verify-resume --epochs 0", 2, "gpucnn verify-resume: argument --epochs: expected a whole number >= 1, got '0'"),
    ("verify-parallel --processes 2", 1, "gpucnn verify-parallel: --processes 2 has nothing to compare with; give two numbers or more, e.g. 1 2 3"),
    ("replay nothing", 1, "gpucnn replay: nothing: no such checkpoint"),
    ("doctor well", 2, "gpucnn doctor: unexpected 'well'; see gpucnn doctor --help"),
    ("agree --batch-size 0", 2, "gpucnn agree: argument --batch-size: expected a whole number >= 1, got '0'"),
    ("bench --batch-sizes 0", 2, "gpucnn bench: argument --batch-sizes: expected a whole number >= 1, got '0'"),
    ("summary vgg", 2, "gpucnn summary: argument MODEL: unknown name 'vgg', expected one of lenet5, simplecnn, mlp"),
    ("summary lenet5 --svg nowhere/model.svg", 1, "gpucnn summary: nowhere/model.svg: cannot be written (no folder nowhere); make it first"),
    ("summary lenet5 --svg model.png", 2, "gpucnn summary: argument --svg: expected a file that ends in .svg, e.g. model.svg, got 'model.png'; see gpucnn summary --help"),
    ("summary lenet5 --input 32", 2, "gpucnn summary: argument --input: expected CHANNELSxHEIGHTxWIDTH, e.g. 1x32x32, got '32'"),
    ("summary lenet5 --input 1x0x0", 2, "gpucnn summary: argument --input: expected CHANNELSxHEIGHTxWIDTH"),
    ("summary lenet5 --input 1x28x28", 1, "gpucnn summary: LeNet5 takes images of 32x32, got image_size=28; pad or resize the images to 32"),
    ("summary lenet5 --input 1x28x32", 1, "gpucnn summary: --input: expected a square image, got 28x32"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bad")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        prepare(place)
    return place


@pytest.mark.parametrize(("command", "status", "message"), TABLE, ids=[command for command, *_ in TABLE])
def test_one_line_and_a_status(
    command: str,
    status: int,
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    capsys.readouterr()
    try:
        ended = main(command.split())
    except SystemExit as exit_:
        ended = exit_.code  # type: ignore[assignment]
    printed = capsys.readouterr()
    assert ended == status
    assert printed.err.startswith(message)
    assert printed.err.count("\n") == 1
    assert printed.err.endswith("\n")


@pytest.mark.parametrize("kind", [MemoryError, OSError])
def test_trouble_in_the_middle_is_one_line_too(
    kind: Callable[..., Exception],
    in_tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from gpucnn.training import RunFolder

    def fail(*_: object, **__: object) -> None:
        raise kind(28, "No space left on device", "run/model.safetensors") if kind is OSError else kind("100 GB")

    monkeypatch.setattr(RunFolder, "add_epoch", fail)
    assert main(["train", "--model", "mlp", "--out", "run", "--quiet"]) == 1
    assert (
        capsys.readouterr().err
        == {
            MemoryError: "gpucnn train: out of memory (100 GB); use a smaller --batch-size; no checkpoint was saved\n",
            OSError: "gpucnn train: run/model.safetensors: No space left on device; no checkpoint was saved\n",
        }[kind]
    )  # type: ignore[index]
