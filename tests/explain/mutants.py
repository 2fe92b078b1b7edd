"""Small changes to what explains a model that tests must notice: a picture would still be drawn, of the wrong place."""

from pathlib import Path

from tests.mutation import Mutant, Table

HERE = "tests/explain"
TESTS_OF = {
    "grad_cam.py": [f"{HERE}/test_grad_cam.py"],
    "last_map.py": [f"{HERE}/test_grad_cam.py", f"{HERE}/test_exciting_patches.py"],
    "layer_calls.py": [f"{HERE}/test_left_as_it_was.py", f"{HERE}/test_feature_maps.py"],
    "input_gradient.py": [f"{HERE}/test_input_gradient.py"],
    "occlusion.py": [f"{HERE}/test_occlusion.py"],
    "feature_maps.py": [f"{HERE}/test_feature_maps.py"],
    "exciting_patches.py": [f"{HERE}/test_exciting_patches.py"],
    "stages.py": [f"{HERE}/test_exciting_patches.py"],
    "receptive_field.py": [f"{HERE}/test_receptive_field.py"],
}

MUTANTS = [
    Mutant("grad_cam.py", ".mean(axis=(1, 2))", ".max(axis=(1, 2))"),
    Mutant("grad_cam.py", "np.maximum((weights[:, None, None] * on_host(maps)[0]).sum(axis=0), 0)", "np.abs((weights[:, None, None] * on_host(maps)[0]).sum(axis=0))"),
    Mutant("grad_cam.py", 'mode="bilinear"', 'mode="bilinear", align_corners=True'),
    Mutant("grad_cam.py", "    x.requires_grad = True", "    x.requires_grad = False"),
    Mutant("grad_cam.py", "_activated(last.output, calls)", "_activated(last.output, [])"),
    Mutant("last_map.py", "call.output.array is logits.array or", ""),
    Mutant("last_map.py", "is_larger and", ""),
    Mutant("last_map.py", "if call.output is not before:", "if True:"),
    Mutant("layer_calls.py", "            handle.remove()", "            pass"),
    Mutant("input_gradient.py", "logits[0, label].sum()", "F.softmax(logits)[0, label].sum()"),
    Mutant("occlusion.py", "total / count", "total / count.max()"),
    Mutant("occlusion.py", "{*range(0, size - patch, step), size - patch}", "{*range(0, size - patch + 1, step)}"),
    Mutant("occlusion.py", "whole - probability", "probability - whole"),
    Mutant("occlusion.py", "one[:, row : row + patch[0]", "one[:1, row : row + patch[0]"),
    Mutant("feature_maps.py", "times.get(path, 0) + 1", "1"),
    Mutant("exciting_patches.py", "np.argsort(-best[0]", "np.argsort(best[0]"),
    Mutant("exciting_patches.py", "        seen += len(x)\n", ""),
    Mutant("exciting_patches.py", "if value > 0", "if True"),
    Mutant("stages.py", "depth <= found[-1][1]", "True"),
    Mutant("stages.py", "has_filters = has_filters or any", "has_filters = True or any"),
    Mutant("receptive_field.py", "seen[0, places] = np.minimum(seen[0, places], others[0])", "seen[0, places] = others[0]"),
    Mutant("receptive_field.py", "_add(columns, tap.outputs[1], reach.columns[:, tap.inputs[1]])", "_add(columns, tap.outputs[1], reach.columns[:, tap.outputs[1]])"),
    Mutant("receptive_field.py", 'given["padding"], given["dilation"])', 'given["padding"])', times=2),
    Mutant("receptive_field.py", "_whole(seen[one])", "seen[one][:, :1]"),
    Mutant("receptive_field.py", '    "transpose": _permuted,\n', ""),
    Mutant("receptive_field.py", "            break\n", "            pass\n"),
]  # fmt: skip

TABLE = Table("what explains a model", Path("explain"), MUTANTS, TESTS_OF, options=("--backend", "numpy"), sample=5)
