"""Write tempest.conf for the cloud that the OS_* variables name: tempest_conf.py FEATURES.INI STATE_DIR > tempest.conf.

What can be asked through the APIs is asked: endpoints, images, flavors, networks, extensions, nodes. Features that no API
tells stand in FEATURES.INI, section by section as in tempest.conf, and win over what was found.
"""
import configparser
import json
import os
import sys
import urllib.request


class Cloud:
    """A session as the administrator."""

    def __init__(self, env):
        self.env = env
        self.token = ""
        base = env["OS_AUTH_URL"].rstrip("/")
        self.auth_url = base if base.endswith("/v3") else base + "/v3"
        user = {"name": env["OS_USERNAME"], "password": env["OS_PASSWORD"],
                "domain": {"name": env.get("OS_USER_DOMAIN_NAME", "Default")}}
        scope = {"project": {"name": env["OS_PROJECT_NAME"],
                             "domain": {"name": env.get("OS_PROJECT_DOMAIN_NAME", "Default")}}}
        body = {"auth": {"scope": scope, "identity": {"methods": ["password"], "password": {"user": user}}}}
        answer, headers = self.call(self.auth_url + "/auth/tokens", json.dumps(body).encode())
        self.token = headers["X-Subject-Token"]
        self.endpoints = {}
        for service in answer["token"]["catalog"]:
            for e in service["endpoints"]:
                if e["interface"] == "public":
                    self.endpoints.setdefault(service["type"], e["url"].rstrip("/"))

    def call(self, url, data=None):
        req = urllib.request.Request(url, data, {"Content-Type": "application/json", "X-Auth-Token": self.token})
        with urllib.request.urlopen(req, timeout=60) as f:
            return json.load(f), f.headers

    def get(self, service, path):
        return self.call(self.endpoints[service] + path)[0]

    def has(self, service):
        return service in self.endpoints


def identity(cloud):
    env = cloud.env
    domain = env.get("OS_USER_DOMAIN_NAME", "Default")
    yield "auth", {
        "use_dynamic_credentials": True, "create_isolated_networks": cloud.has("network"), "tempest_roles": "member",
        "admin_username": env["OS_USERNAME"], "admin_password": env["OS_PASSWORD"],
        "admin_project_name": env["OS_PROJECT_NAME"], "admin_domain_name": domain,
        "default_credentials_domain_name": domain,
    }
    yield "identity", {
        "uri_v3": cloud.auth_url, "auth_version": "v3", "v3_endpoint_type": "public",
        "region": env.get("OS_REGION_NAME", "RegionOne"),
    }
    if env.get("OS_CACERT"):
        yield "identity", {"ca_certificates_file": env["OS_CACERT"]}
    yield "service_available", {
        "glance": cloud.has("image"), "nova": cloud.has("compute"), "neutron": cloud.has("network"),
        "cinder": cloud.has("volumev3") or cloud.has("block-storage"), "swift": cloud.has("object-store"), "horizon": False,
    }


def image(cloud):
    images = cloud.get("image", "/v2/images?status=active&sort=created_at:asc&limit=100")["images"]
    if not images:
        sys.exit("tempest_conf.py: the cloud has no active image; Tempest's server tests need one")
    yield "compute", {"image_ref": images[0]["id"], "image_ref_alt": images[min(1, len(images) - 1)]["id"]}


def compute(cloud):
    flavors = cloud.get("compute", "/flavors/detail")["flavors"]
    if not flavors:
        sys.exit("tempest_conf.py: the cloud has no flavor; Tempest's server tests need one")
    flavors.sort(key=lambda f: (f["ram"], f["disk"], f["vcpus"]))
    nodes = cloud.get("compute", "/os-hypervisors")["hypervisors"]
    yield "compute", {
        "flavor_ref": flavors[0]["id"], "flavor_ref_alt": flavors[min(1, len(flavors) - 1)]["id"],
        "min_compute_nodes": len(nodes), "max_microversion": "latest", "build_interval": 1, "build_timeout": 120,
    }
    if cloud.has("placement"):
        yield "placement", {"max_microversion": "latest"}


def network(cloud):
    extensions = sorted(e["alias"] for e in cloud.get("network", "/v2.0/extensions")["extensions"])
    if "standard-attr-tag" in extensions:
        extensions.append("tag")  # Tempest asks for the first of its aliases, which Neutron no longer lists
    external = cloud.get("network", "/v2.0/networks?router:external=true")["networks"]
    if external:
        yield "network", {"public_network_id": external[0]["id"], "floating_network_name": external[0]["name"]}
    yield "network-feature-enabled", {
        "api_extensions": ",".join(extensions), "port_security": "port-security" in extensions,
        "floating_ips": bool(external), "ipv6": True, "ipv6_subnet_attributes": True,
    }


def main(features, state):
    cloud = Cloud(os.environ)
    conf = configparser.RawConfigParser()
    conf.optionxform = str

    def put(section, options):
        if section != "DEFAULT" and not conf.has_section(section):
            conf.add_section(section)
        for key, value in options.items():
            conf.set(section, key, str(value).lower() if isinstance(value, bool) else str(value))

    put("DEFAULT", {"log_file": "tempest.log", "log_dir": state, "use_stderr": False})
    put("oslo_concurrency", {"lock_path": state + "/lock"})
    # Guests of simulated nodes cannot be logged in to.
    put("validation", {"run_validation": False, "connect_method": "fixed"})
    parts = [identity] + [p for p in (image, compute, network) if cloud.has(p.__name__)]
    for part in parts:
        for section, options in part(cloud):
            put(section, options)
    conf.read(features)
    conf.write(sys.stdout)


main(*sys.argv[1:])
