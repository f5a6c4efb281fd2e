"""The Corner Shop: one page, a health check and its version. Plain WSGI, no framework.

Try it on a laptop with `python3 app/shop.py`, then open http://127.0.0.1:8000/.
"""

import html
import json
import socket
from pathlib import Path

# The playbook writes VERSION when the image is baked; a source tree has none.
VERSION_FILE = Path(__file__).resolve().parent.parent / "VERSION"
VERSION = VERSION_FILE.read_text().strip() if VERSION_FILE.exists() else "unreleased"

GOODS = [
    ("Green tea, first flush", "100 g", 1280),
    ("Roasted barley tea", "30 bags", 420),
    ("Rice crackers, soy", "12 pieces", 360),
    ("Plum sweets", "1 tin", 540),
    ("Ceramic cup", "220 ml", 1900),
]

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The Corner Shop</title>
<style>
  body {{ font: 1rem/1.6 system-ui, sans-serif; max-width: 36rem; margin: 3rem auto; padding: 0 1rem; color: #222 }}
  table {{ width: 100%; border-collapse: collapse; margin: 1.5rem 0 }}
  td, th {{ padding: .4rem 0; border-bottom: 1px solid #ddd; text-align: left }}
  td:last-child, th:last-child {{ text-align: right }}
  footer {{ color: #777; font-size: .875rem }}
</style>
<h1>The Corner Shop</h1>
<p>Open all hours, since its servers are replaced and never repaired.</p>
<table>
<tr><th>Goods<th>Unit<th>Price</tr>
{rows}
</table>
<footer>Version <code>{version}</code>, served by <code>{host}</code></footer>
</html>
"""


def page():
    host = html.escape(socket.gethostname())
    rows = "\n".join(f"<tr><td>{html.escape(name)}<td>{unit}<td>¥{price:,}</tr>" for name, unit, price in GOODS)
    return PAGE.format(rows=rows, version=html.escape(VERSION), host=host)


def health():
    return json.dumps({"status": "ok", "version": VERSION, "host": socket.gethostname()}) + "\n"


ROUTES = {
    "/": ("text/html; charset=utf-8", page),
    "/health": ("application/json", health),
    "/version": ("text/plain; charset=utf-8", lambda: VERSION + "\n"),
}


def application(environ, start_response):
    """The WSGI entry point: gunicorn runs `shop:application`."""
    method = environ["REQUEST_METHOD"]
    if method not in ("GET", "HEAD"):
        status, kind, text = "405 Method Not Allowed", "text/plain; charset=utf-8", "the shop only shows its goods\n"
    elif environ.get("PATH_INFO", "/") in ROUTES:
        kind, answer = ROUTES[environ.get("PATH_INFO", "/")]
        status, text = "200 OK", answer()
    else:
        status, kind, text = "404 Not Found", "text/plain; charset=utf-8", "no such page\n"
    body = text.encode()
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    if status.startswith("405"):
        headers.append(("Allow", "GET, HEAD"))
    start_response(status, headers)
    return [] if method == "HEAD" else [body]


if __name__ == "__main__":
    from wsgiref.simple_server import make_server

    with make_server("127.0.0.1", 8000, application) as server:
        print("http://127.0.0.1:8000/")
        server.serve_forever()
