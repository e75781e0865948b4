"""The one file of the structured loss, copied into an empty folder, trains somebody else's network in three lines."""

import shutil
import subprocess
import sys

from tests.conftest import ROOT
from tests.markdown import blocks

TRAINER = """
import torch

torch.manual_seed(0)
pictures = torch.rand(2, 3, 24, 32)
student, teacher = (torch.nn.Conv2d(3, 5, 3, padding=1) for _ in range(2))
teacher.weight.data *= 5
optimizer = torch.optim.SGD(student.parameters(), lr=5.0)
owner = torch.full((2, 24, 32), -1)
owner[:, 2:20, 3:15], owner[:, 10:22, 12:30] = 0, 1
losses = []
for _ in range(40):
    optimizer.zero_grad()
    student_logits, teacher_logits, loss = student(pictures), teacher(pictures), 0.0
{lines}
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
assert losses[-1] < 0.5 * losses[0], losses
print("learned")
"""


def test_three_lines_of_the_readme_work_without_this_project(tmp_path):
    (lines,) = [block for block in blocks((ROOT / "README.md").read_text(), "py") if "student_logits" in block]
    lines = "    " + lines.strip().replace("\n", "\n    ")
    shutil.copy(ROOT / "scl_core/losses/structured.py", tmp_path)
    (tmp_path / "trainer.py").write_text(TRAINER.format(lines=lines))
    command = [sys.executable, "-I", "-c", "import sys, runpy; sys.path.insert(0, '.'); runpy.run_path('trainer.py')"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.strip() == "learned", done.stderr
