"""The catalog: well-known images, made of Debian packages so that a cluster needs no registry.

Stage: values.  An entry says which packages, users, files and paths make up what users of the original image expect.
Rules: pure; no entry needs a maintainer script, what such a script would have done is written here.
Truth: the originals' documented behaviour: user ids, entrypoint, document root, where logs go, stop signal.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from clusterip.node.imagespec import ImageConfig

FORMAT = 3  # raised when the way images are built changes, so that all are built anew

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class User:
    """A line of /etc/passwd with a group of the same id."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str = "/usr/sbin/nologin"
    group: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """A file that no package brings."""

    path: str
    text: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Folder:
    path: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of the catalog."""

    name: str
    packages: tuple[str, ...]
    versioned_by: str  # the package whose version is the image's
    config: ImageConfig
    also_known_as: tuple[str, ...] = ()
    users: tuple[User, ...] = ()
    files: tuple[File, ...] = ()
    folders: tuple[Folder, ...] = ()
    links: tuple[tuple[str, str], ...] = ()  # (path, target)
    applets: bool = False  # every busybox applet gets a link where no file has its name
    version: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        """Changes whenever the entry does; what was built from an equal key need not be built again."""
        return hashlib.sha256(f"{FORMAT}{COMMON!r}{self!r}".encode()).hexdigest()[:12]


# what every image has, whatever its packages
USERS = (
    User("root", 0, 0, "/root", "/bin/sh"),
    User("daemon", 1, 1, "/usr/sbin"),
    User("bin", 2, 2, "/bin"),
    User("sys", 3, 3, "/dev"),
    User("mail", 8, 8, "/var/mail"),
    User("www-data", 33, 33, "/var/www"),
    User("nobody", 65534, 65534, "/nonexistent", group="nogroup"),
)
MERGED = ("bin", "sbin", "lib", "lib64")  # Debian 12 has these in /usr, and packages do not bring the links
FOLDERS = (
    Folder("dev"),
    Folder("etc"),
    Folder("home"),
    Folder("proc"),
    Folder("root", 0o700),
    Folder("run"),
    Folder("sys"),
    Folder("tmp", 0o1777),
    Folder("usr/local/bin"),
    Folder("usr/local/sbin"),
    Folder("var/log"),
    Folder("var/tmp", 0o1777),
)
FILES = (
    File("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"),
    File("etc/host.conf", "multi on\n"),
)
LINKS = (("var/run", "/run"), ("etc/mtab", "/proc/mounts"))
LEFT_OUT = (  # of packages: nothing that a program reads at run time
    "usr/share/doc/",
    "usr/share/man/",
    "usr/share/info/",
    "usr/share/locale/",
    "usr/share/lintian/",
    "usr/share/bash-completion/",
    "usr/share/bug/",
    "usr/lib/x86_64-linux-gnu/gconv/",
    "usr/lib/aarch64-linux-gnu/gconv/",
    "lib/systemd/",
    "usr/lib/systemd/",
    "etc/systemd/",
    "etc/init.d/",
    "etc/cron.daily/",
    "etc/logrotate.d/",
    "etc/ufw/",
    "etc/nginx/sites-available/",
    "etc/nginx/sites-enabled/",
)
COMMON = (USERS, MERGED, FOLDERS, FILES, LINKS, LEFT_OUT)

NGINX_CONF = """\
user nginx;
worker_processes 1;

error_log /var/log/nginx/error.log notice;
pid /run/nginx.pid;

events {
    worker_connections 1024;
}

http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;

    log_format main '$remote_addr - $remote_user [$time_local] "$request" '
                    '$status $body_bytes_sent "$http_referer" '
                    '"$http_user_agent" "$http_x_forwarded_for"';
    access_log /var/log/nginx/access.log main;

    sendfile on;
    keepalive_timeout 65;

    include /etc/nginx/conf.d/*.conf;
}
"""

NGINX_SITE = """\
server {
    listen 80;
    server_name localhost;

    location / {
        root /usr/share/nginx/html;
        index index.html index.htm;
    }

    error_page 500 502 503 504 /50x.html;
    location = /50x.html {
        root /usr/share/nginx/html;
    }
}
"""

NGINX_ERROR_PAGE = (
    "<!DOCTYPE html>\n<html><head><title>Error</title></head><body><h1>An error occurred.</h1></body></html>\n"
)

# Runs what lies in /docker-entrypoint.d, in order, before nginx itself; never before another command.
NGINX_ENTRYPOINT = """\
#!/bin/sh
set -e
if [ "$1" = nginx ] || [ "$1" = nginx-debug ]; then
    for step in /docker-entrypoint.d/*; do
        case "$step" in
        *.envsh) [ -x "$step" ] && . "$step" ;;
        *.sh) [ -x "$step" ] && "$step" ;;
        esac
    done
fi
exec "$@"
"""

# Templates become configuration with the variables of the environment, and only those, put in.
NGINX_TEMPLATES = """\
#!/bin/sh
set -e
from=${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}
to=${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}
suffix=${NGINX_ENVSUBST_TEMPLATE_SUFFIX:-.template}
[ -d "$from" ] || exit 0
names=$(env | sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/${\\1}/p' | tr '\\n' ' ')
find "$from" -follow -type f -name "*$suffix" | while read -r template; do
    target="$to/${template#"$from"/}"
    target="${target%"$suffix"}"
    mkdir -p "$(dirname "$target")"
    envsubst "$names" <"$template" >"$target"
done
"""

# Beside IPv4, unless the site is another one by then.
NGINX_IPV6 = """\
#!/bin/sh
set -e
site=/etc/nginx/conf.d/default.conf
[ -f /proc/net/if_inet6 ] && [ -w "$site" ] || exit 0
grep -q 'listen  *\\[::\\]:80' "$site" || sed -i 's/^    listen 80;$/    listen 80;\\n    listen [::]:80;/' "$site"
"""

# As in the original, arguments are curl's unless the first one names a program.
CURL_ENTRYPOINT = """\
#!/bin/sh
set -e
case "$1" in
-*) set -- curl "$@" ;;
*) command -v "$1" >/dev/null 2>&1 || set -- curl "$@" ;;
esac
exec "$@"
"""

# Waits to be ended, as PID 1 that ends at once on the signals that end a pod.
PAUSE_ENTRYPOINT = """\
#!/bin/sh
trap 'exit 0' TERM INT
while :; do
    sleep 2147483647 &
    wait $!
done
"""

# Debian builds busybox without it.
PRINTENV = File(
    "usr/bin/printenv",
    """\
#!/bin/sh
[ $# -gt 0 ] || exec env
status=0
for name; do
    env | grep "^$name=" | cut -d= -f2- | grep . || status=1
done
exit $status
""",
    0o755,
)

NGINX = Entry(
    name="docker.io/library/nginx",
    also_known_as=("registry.k8s.io/e2e-test-images/nginx",),
    packages=(
        "nginx",
        "dash",
        "bash",
        "coreutils",
        "sed",
        "grep",
        "mawk",
        "findutils",
        "hostname",
        "curl",
        "ca-certificates",
        "libc-bin",
        "gettext-base",
        "netbase",
        "base-files",
    ),
    versioned_by="nginx",
    config=ImageConfig(
        entrypoint=("/docker-entrypoint.sh",),
        cmd=("nginx", "-g", "daemon off;"),
        env=(PATH,),
        stop_signal="SIGQUIT",
        ports=("80/tcp",),
    ),
    users=(User("nginx", 101, 101, "/var/cache/nginx", "/bin/false"),),
    files=(
        File("etc/nginx/nginx.conf", NGINX_CONF),
        File("etc/nginx/conf.d/default.conf", NGINX_SITE),
        File("usr/share/nginx/html/50x.html", NGINX_ERROR_PAGE),
        File("docker-entrypoint.sh", NGINX_ENTRYPOINT, 0o755),
        File("docker-entrypoint.d/10-listen-on-ipv6-by-default.sh", NGINX_IPV6, 0o755),
        File("docker-entrypoint.d/20-envsubst-on-templates.sh", NGINX_TEMPLATES, 0o755),
    ),
    folders=(Folder("var/cache/nginx"), Folder("var/log/nginx"), Folder("var/lib/nginx")),
    links=(
        ("usr/bin/sh", "dash"),
        ("usr/bin/awk", "mawk"),
        ("var/log/nginx/access.log", "/dev/stdout"),
        ("var/log/nginx/error.log", "/dev/stderr"),
    ),
)

BUSYBOX = Entry(
    name="docker.io/library/busybox",
    packages=("busybox-static",),
    versioned_by="busybox-static",
    config=ImageConfig(cmd=("sh",), env=(PATH,)),
    files=(PRINTENV,),
    folders=(Folder("var/www"),),
    applets=True,
)

# Upstream's tests have variables that no shell variable could be named like (`1-data`). The original's shell hands them
# on to the programs that it starts; that of Debian's busybox is built to drop them, zsh (which acts as sh) is not.
TESTED_BUSYBOX = Entry(
    name="registry.k8s.io/e2e-test-images/busybox",
    packages=("busybox-static", "zsh-static"),
    versioned_by="busybox-static",
    config=ImageConfig(cmd=("sh",), env=(PATH,)),
    files=(PRINTENV,),
    folders=(Folder("var/www"),),
    links=(("usr/local/bin/sh", "/usr/bin/zsh-static"),),  # /bin/sh is busybox, whose words are the original's
    applets=True,
)

ALPINE = Entry(
    name="docker.io/library/alpine",
    packages=("busybox-static",),
    versioned_by="busybox-static",
    config=ImageConfig(cmd=("/bin/sh",), env=(PATH,)),
    files=(PRINTENV,),
    applets=True,
)

CURL = Entry(
    name="docker.io/curlimages/curl",
    also_known_as=("quay.io/curl/curl", "docker.io/alpine/curl"),
    packages=("curl", "ca-certificates", "busybox-static", "libc-bin", "netbase"),
    versioned_by="curl",
    config=ImageConfig(
        entrypoint=("/entrypoint.sh",), cmd=("curl",), env=(PATH,), user="curl_user", working_dir="/home/curl_user"
    ),
    users=(User("curl_user", 100, 101, "/home/curl_user", "/bin/sh", group="curl_group"),),
    files=(File("entrypoint.sh", CURL_ENTRYPOINT, 0o755), PRINTENV),
    folders=(Folder("home/curl_user", 0o755, 100, 101),),
    applets=True,
)

PAUSE = Entry(
    name="registry.k8s.io/pause",
    also_known_as=("k8s.gcr.io/pause", "gcr.io/google_containers/pause"),
    packages=("busybox-static",),
    versioned_by="busybox-static",
    config=ImageConfig(entrypoint=("/pause",), env=(PATH,)),
    files=(File("pause", PAUSE_ENTRYPOINT, 0o755),),
    applets=True,
)

CATALOG: tuple[Entry, ...] = (NGINX, BUSYBOX, CURL, ALPINE, PAUSE, TESTED_BUSYBOX)

_BY_NAME = {name: entry for entry in CATALOG for name in (entry.name, *entry.also_known_as)}


def find(name: str) -> Entry | None:
    """The entry that stands for an image of this name, whatever its tag."""
    return _BY_NAME.get(name)


def short_name(name: str) -> str:
    """A name as people write it."""
    return name.removeprefix("docker.io/").removeprefix("library/")


def upstream_version(debian: str) -> str:
    """The original's part of a Debian version: 1:1.35.0-4+b1 is 1.35.0."""
    return debian.split(":")[-1].rsplit("-", 1)[0].split("+")[0]


def keeps(name: str) -> bool:
    """Whether a file of a package goes into an image."""
    return not any(f"{name}/".startswith(prefix) for prefix in LEFT_OUT)
