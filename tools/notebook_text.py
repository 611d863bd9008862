"""Print a notebook as text, so that git can show what changed in it: ``python tools/notebook_text.py PATH``.

Cells with their tags, captions and outputs stay; a picture becomes the first digits of its checksum. `make`
tells git to use this (.gitattributes), and it needs nothing but Python.
"""

import hashlib
import json
import sys


def text_of(notebook: dict) -> str:
    """Write a notebook's cells one after another, as they would be read."""
    lines = []
    for cell in notebook["cells"]:
        metadata = json.dumps(cell["metadata"], ensure_ascii=False) if cell["metadata"] else ""
        lines += [f"# [{cell['cell_type']}] {metadata}".rstrip(), "".join(cell["source"]), ""]
        for output in cell.get("outputs", []):
            data = output.get("data") or {"text/plain": output.get("text") or output.get("traceback", "")}
            for kind, content in data.items():
                content = "".join(content) if isinstance(content, list) else str(content)
                if kind.startswith("image/"):
                    content = f"{kind} {hashlib.sha256(content.encode()).hexdigest()[:12]}"
                lines += ["# [output]", content.rstrip("\n"), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print(text_of(json.load(file)))
