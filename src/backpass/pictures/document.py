"""A whole HTML page: no script, nothing from elsewhere."""

from __future__ import annotations

from backpass.pictures.svg import plain

#: Only what is in the file: no script, no network, no frame.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2128;--soft:#5a6270;--line:#d9dde3;--page:#fff;--tint:#f4f6f8;
--accent:#0072b2}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaee;--soft:#a4acb8;--line:#343a44;--page:#181b20;
--tint:#22262d;--accent:#56b4e9}}
body{margin:0 auto;padding:28px 20px 60px;max-width:1010px;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',Arial,sans-serif}
h1{font-size:25px;line-height:1.25;margin:0 0 6px;overflow-wrap:anywhere}
h2{font-size:18px;margin:38px 0 10px;padding-top:14px;border-top:1px solid var(--line)}
h3{font-size:16px;margin:26px 0 4px}
p{margin:6px 0}.lead{font-size:17px}.soft{color:var(--soft);font-size:13px}
.note{border-left:4px solid #d55e00;background:var(--tint);padding:8px 12px;white-space:pre-wrap;
overflow-wrap:anywhere}
table{border-collapse:collapse;margin:10px 0;font-variant-numeric:tabular-nums}
th,td{padding:4px 14px 4px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line);
overflow-wrap:anywhere}
.figures th,.figures td{text-align:right;padding:4px 0 4px 20px;overflow-wrap:normal}
.figures td{white-space:nowrap}
.figures th:first-child,.figures td:first-child{text-align:left;padding-left:0}
thead th{color:var(--soft);font-weight:600;font-size:13px}tbody th{font-weight:400;color:var(--soft)}
.figures tbody th{color:var(--ink)}.figures .words{text-align:left}.equation{white-space:pre-wrap}
pre{background:var(--tint);border-radius:6px;padding:12px 14px;overflow-x:auto;line-height:1.45;
font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}
details{margin:10px 0}summary{cursor:pointer;color:var(--accent)}
.wide{overflow-x:auto}figure{margin:8px 0}svg{max-width:100%;height:auto;display:block}
li{margin:2px 0}
@media print{pre,svg,table{break-inside:avoid}}
"""


def document(title: str, body: str) -> str:
    """A whole page around HTML that is safe already.

    Examples
    --------
    >>> "<script" in document("<script>", "")
    False
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{plain(title)}</title>\n<style>{_STYLE.strip()}</style>\n</head>\n<body>\n"
        f"{body}\n</body>\n</html>\n"
    )
