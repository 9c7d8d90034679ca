# SPDX-FileCopyrightText: 2026 The postmaster.mail authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects for Kubernetes: right by its schemas, and right with each other. No cluster has a part in this."""

from __future__ import annotations

import base64
import importlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pydantic
import pytest
import yaml
from postmaster_mailer.__main__ import DRAIN, STAGES
from postmaster_mailer.config import load

from .conftest import ROOT

FILES = ROOT / "roles" / "mailer" / "files"
KUBERNETES = FILES / "kubernetes"
VERSIONS = ("1.29", "1.33", "1.37")
OBJECTS = sorted(
    path for part in ("base", "public", "ingress", "monitoring") for path in (KUBERNETES / part).glob("*.yaml")
)
OF_OPERATOR = "monitoring.coreos.com/v1"  # the Prometheus Operator
NO_OBJECTS = {"kustomization.yaml", "mailer.yaml"}
Object = dict[str, Any]


def objects(paths: list[Path] = OBJECTS) -> list[Object]:
    """All objects that stand in files."""
    return [one for path in paths if path.name not in NO_OBJECTS for one in yaml.safe_load_all(path.read_text())]


def of_kind(*kinds: str) -> list[Object]:
    return [one for one in objects() if one["kind"] in kinds]


WORKLOADS = {one["metadata"]["name"]: one for one in of_kind("Deployment", "StatefulSet")}


def pod(workload: Object) -> Object:
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def containers() -> Iterator[tuple[str, Object, Object]]:
    for name, workload in WORKLOADS.items():
        for container in pod(workload)["containers"]:
            yield f"{name}/{container['name']}", pod(workload), container


def chosen(selector: Object) -> list[Object]:
    """The workloads whose pods have the labels of a selector."""
    wanted = selector.get("matchLabels", selector).items()
    return [one for one in WORKLOADS.values() if wanted <= one["spec"]["template"]["metadata"]["labels"].items()]


def ports(workload: Object) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for one in pod(workload)["containers"] for port in one.get("ports", ())}


def validated(one: Object, version: str = VERSIONS[-1]) -> None:
    if one["apiVersion"] != OF_OPERATOR:
        kubernetes_validate.validate(one, version, strict=True)
        return
    # Its models are large: only who needs them waits for them.
    models = importlib.import_module("cloudcoil.models.prometheus_operator.v1")
    model: type[pydantic.BaseModel] = getattr(models, one["kind"])
    model.model_validate(one, strict=True, extra="forbid", by_alias=True, by_name=False)


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_are_as_the_schemas_want_them(version: str) -> None:
    known = [one for one in objects() if one["apiVersion"] != OF_OPERATOR]
    assert len(known) > 30
    for one in known:
        validated(one, version)


def test_the_operators_objects_are_as_its_schemas_want_them() -> None:
    known = [one for one in objects() if one["apiVersion"] == OF_OPERATOR]
    assert {one["kind"] for one in known} == {"PrometheusRule", "ServiceMonitor"}
    for one in known:
        validated(one)


def spoilt(one: Object, place: str, value: object) -> Object:
    """A copy with another value at a place such as ``spec.groups.0.name``."""
    copy: Object = json.loads(json.dumps(one))
    *way, last = place.split(".")
    inner: Any = copy
    for step in way:
        inner = inner[int(step) if isinstance(inner, list) else step]
    inner[last] = value
    return copy


@pytest.mark.parametrize(
    ("kind", "place", "value"),
    [
        ("Deployment", "spec.replica", 2),
        ("Deployment", "spec.replicas", "two"),
        ("ServiceMonitor", "spec.endpoint", []),
        ("ServiceMonitor", "spec.endpoints.0.target_port", 9090),
        ("ServiceMonitor", "spec.endpoints.0.interval", "30 s"),
        ("ServiceMonitor", "spec.selector.matchLabels", {"app": 1}),
        ("ServiceMonitor", "metadata.label", {}),
        ("PrometheusRule", "spec.groups.0.rule", []),
        ("PrometheusRule", "spec.groups.0.rules.1.For", "5m"),
        ("PrometheusRule", "spec.groups.0.rules.1.for", "5 minutes"),
        ("PrometheusRule", "spec.groups.0.rules.1.labels", "severity: warning"),
    ],
)
def test_the_schemas_find_a_mistake(kind: str, place: str, value: object) -> None:
    one = of_kind(kind)[0]
    validated(one)
    with pytest.raises((kubernetes_validate.ValidationError, pydantic.ValidationError)):
        validated(spoilt(one, place, value))


def test_every_stage_has_its_pods() -> None:
    run = {
        container["args"][1] for dummy, dummy, container in containers() if container.get("args", [""])[0] == "stage"
    }
    assert run == set(STAGES)
    assert {name for name, one in WORKLOADS.items() if one["spec"]["replicas"] < 2} == {"redis"}


@pytest.mark.parametrize(("name", "spec", "container"), [pytest.param(*one, id=one[0]) for one in containers()])
def test_a_container_may_do_little_and_is_watched(name: str, spec: Object, container: Object) -> None:
    security = {**spec["securityContext"], **container["securityContext"]}
    assert not spec["automountServiceAccountToken"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert security["capabilities"]["drop"] == ["ALL"]
    assert security.get("runAsNonRoot", False) is (name != "postfix/postfix")  # its master is root
    assert ("add" in security["capabilities"]) is (name == "postfix/postfix")
    assert container["resources"]["limits"]["memory"]
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert container["startupProbe"] and container["livenessProbe"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    claims = {
        claim["metadata"]["name"] for one in WORKLOADS.values() for claim in one["spec"].get("volumeClaimTemplates", ())
    }
    assert mounted <= {volume["name"] for volume in spec["volumes"]} | claims


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_stop_leaves_time_to_end_what_is_under_way(name: str) -> None:
    spec = pod(WORKLOADS[name])
    for container in spec["containers"]:
        before = int(container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["", "0"])[1])
        assert spec["terminationGracePeriodSeconds"] > DRAIN + before
    if name == "postfix":  # which outlives the stage that hands over to it
        (daemon,) = (one for one in spec["containers"] if one["name"] == "postfix")
        assert int(daemon["lifecycle"]["preStop"]["exec"]["command"][1]) > DRAIN


def test_what_selects_finds_and_what_names_a_port_means_one() -> None:
    for service in of_kind("Service"):
        (workload,) = chosen(service["spec"]["selector"])
        for port in service["spec"]["ports"]:
            assert ports(workload)[port["targetPort"]] == port["port"], service["metadata"]["name"]
    services = {one["metadata"]["name"]: one["spec"]["ports"] for one in of_kind("Service")}
    for ingress in of_kind("Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                named = path["backend"]["service"]
                assert named["port"]["name"] in {port["name"] for port in services[named["name"]]}
    for budget in of_kind("PodDisruptionBudget"):
        assert len(chosen(budget["spec"]["selector"])) == 1
    for policy in of_kind("NetworkPolicy"):
        spec = policy["spec"]
        assert chosen(spec["podSelector"])
        named = [port["port"] for rule in spec.get("ingress", ()) for port in rule["ports"]]
        assert all(port in ports(one) for one in chosen(spec["podSelector"]) for port in named)


def reachable(name: str) -> dict[str, list[Object] | None]:
    """The ports of a workload that a policy opens, and to whom; None is everybody."""
    found: dict[str, list[Object] | None] = {}
    for policy in of_kind("NetworkPolicy"):
        if WORKLOADS[name] in chosen(policy["spec"]["podSelector"]):
            for rule in policy["spec"].get("ingress", ()):
                found |= {port["port"]: rule.get("from") for port in rule["ports"]}
    return found


def test_nothing_is_reached_that_need_not_be() -> None:
    denied = next(one for one in of_kind("NetworkPolicy") if one["metadata"]["name"] == "mailer-default-deny")
    assert len(chosen(denied["spec"]["podSelector"])) == len(WORKLOADS)
    assert denied["spec"]["policyTypes"] == ["Ingress", "Egress"]
    monitoring = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    stages = [{"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "mailer"}}}]
    opened = {name: reachable(name) for name in WORKLOADS}
    assert all(one.pop("metrics") == monitoring for one in opened.values())
    assert opened == {
        "postfix": {},
        "transformer": {},
        "backdata": {},
        "redis": {"redis": stages},
        "receiver": {"submission": None},
        "mxserver": {"smtp": None},
        "httpreceiver": {"http": [{"namespaceSelector": {}}]},
    }
    public = [one for one in of_kind("Service") if one["spec"]["type"] != "ClusterIP"]
    assert {(one["spec"]["selector"]["app"], one["spec"]["ports"][0]["port"]) for one in public} == {
        ("mxserver", 25), ("receiver", 587)
    }  # fmt: skip
    assert all(one["spec"]["type"] == "LoadBalancer" and len(one["spec"]["ports"]) == 1 for one in public)
    (ingress,) = of_kind("Ingress")
    (rule,) = ingress["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == ["/v1"]
    assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]


def test_redis_keeps_what_it_has_said_yes_to() -> None:
    lines = (KUBERNETES / "base" / "redis.conf").read_text().splitlines()
    settings = dict(line.split(" ", 1) for line in lines if not line.startswith("#"))
    assert (settings["appendonly"], settings["appendfsync"]) == ("yes", "always")
    assert settings["maxmemory-policy"] == "noeviction"
    redis = WORKLOADS["redis"]
    assert redis["kind"] == "StatefulSet" and redis["spec"]["volumeClaimTemplates"]
    (server,) = (one for one in pod(redis)["containers"] if one["name"] == "redis")
    mounts = {mount["mountPath"]: mount["name"] for mount in server["volumeMounts"]}
    assert mounts[settings["dir"]] == redis["spec"]["volumeClaimTemplates"][0]["metadata"]["name"]


GLOBAL = "reliable-queue: {queue-names: {primary-queue: P0, default-queue: P1}}\npostfix: {incoming-queue-name: TO-POSTFIX}\n"
CUSTOMER = """
receiver:
  bind: {inet-interface: localhost, inet-port: 8025}
  auth-logins: [{username: apa, password: banan}]
  reliable-queue: {redis: {hostname: localhost, port: 6379}}
  prometheus: {inet-interface: 0.0.0.0, inet-port: 9091}
transformer:
  domain-settings:
    - {domain: example.com, dkim-private-key-file: /configs/dkim-example.com.pem, return-path-domain: example.com}
postfixlog:
  logfile: /var/log/mail.log
  postfix: {hostname: localhost, port: 26}
  string-replacer: {main-cf: {myhostname: mxserver.example.com}, master-cf: {smtpd-port: 26}}
mxserver:
  bind: {inet-interface: localhost, inet-port: 8026}
  eml-directory: tmp
"""


def test_the_configuration_is_where_the_objects_look(tmp_path: Path) -> None:
    """Whatever the user's two files say of ports and of Redis, which were written for another place."""
    (tmp_path / "global.yaml").write_text(GLOBAL)
    (tmp_path / "customer.yaml").write_text(CUSTOMER)
    found = load([tmp_path / "global.yaml", tmp_path / "customer.yaml", KUBERNETES / "base" / "mailer.yaml"])
    assert found.receiver.auth_logins[0].username == "apa"
    sections = (
        found.receiver, found.httpreceiver, found.transformer, found.postfixlog, found.mxserver, found.backdata, found.redis
    )  # fmt: skip
    mounts = {
        mount["name"]: mount["mountPath"] for mount in pod(WORKLOADS["transformer"])["containers"][0]["volumeMounts"]
    }
    for section in sections:
        redis = section.reliable_queue.redis
        assert (redis.hostname, str(redis.password_file)) == ("redis", f"{mounts['secrets']}/password")
        assert (section.prometheus.inet_interface, section.prometheus.inet_port) == ("0.0.0.0", 9090)
    for bind, name, port in (
        (found.receiver.bind, "receiver", "submission"),
        (found.mxserver.bind, "mxserver", "smtp"),
        (found.httpreceiver.bind, "httpreceiver", "http"),
    ):
        assert (bind.inet_interface, bind.inet_port) == ("0.0.0.0", ports(WORKLOADS[name])[port])
    postfix = found.postfixlog
    assert (postfix.postfix.hostname, postfix.postfix.port) == (
        "localhost",
        postfix.string_replacer.master_cf.smtpd_port,
    )
    assert postfix.string_replacer.main_cf == {"myhostname": "mxserver.example.com"}


# -- the Prometheus Operator --------------------------------------------------------------------------------


def test_the_rules_are_those_of_the_file() -> None:
    (rule,) = of_kind("PrometheusRule")
    assert rule["spec"] == yaml.safe_load((FILES / "monitoring" / "mailer.rules.yml").read_text())


def test_each_workload_is_looked_at() -> None:
    services = {one["metadata"]["name"]: one for one in of_kind("Service")}
    seen = []
    for monitor in of_kind("ServiceMonitor"):
        assert monitor["apiVersion"] == OF_OPERATOR
        assert monitor["spec"].keys() == {"endpoints", "selector"}
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (found,) = (name for name, one in services.items() if wanted <= one["metadata"]["labels"].items())
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in services[found]["spec"]["ports"]}
        seen.append(found)
    assert sorted(seen) == sorted(WORKLOADS)


# -- rendered -----------------------------------------------------------------------------------------------


def test_the_example_is_rendered(tmp_path: Path) -> None:
    """By kustomize itself, with files such as a user has."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl here")
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    example = tmp_path / "kubernetes" / "overlays" / "example"
    given = {
        "inboxbooster-mailer-global.yaml": GLOBAL, "inboxbooster-mailer-customer.yaml": CUSTOMER,
        "return-path.secret": "r" * 32, "dkim-example.com.pem": "k", "receiver_cert.pem": "c", "receiver_key.pem": "k",
        "redis.password": "secret of redis",
    }  # fmt: skip
    for name, text in given.items():
        (example / name).write_text(text)
    done = subprocess.run(
        [kubectl, "kustomize", str(example)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    rendered = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(done.stdout)}
    for one in rendered.values():
        validated(one)
        assert one["kind"] == "Namespace" or one["metadata"]["namespace"] == "mailer"
    ingress = rendered["Ingress", "httpreceiver"]["spec"]
    assert ingress["rules"][0]["host"] == ingress["tls"][0]["hosts"][0] == "mailer.example.com"
    transformer = rendered["Deployment", "transformer"]
    assert transformer["spec"]["replicas"] == 3
    assert pod(transformer)["containers"][0]["image"] == "registry.example.org/postmaster-mailer:0.1.0"
    volumes = {volume["name"]: volume for volume in pod(transformer)["volumes"]}
    sources = volumes["configs"]["projected"]["sources"]
    # A change of a file changes its object's name, and with it the pods.
    configs = rendered["ConfigMap", sources[0]["configMap"]["name"]]
    assert configs["metadata"]["name"].startswith("inboxbooster-config-")
    assert configs["data"]["inboxbooster-mailer-customer.yaml"] == CUSTOMER
    assert set(rendered["Secret", sources[1]["secret"]["name"]]["data"]) == {
        "return-path.secret", "dkim-example.com.pem", "receiver_cert.pem", "receiver_key.pem"
    }  # fmt: skip
    password = rendered["Secret", volumes["secrets"]["secret"]["secretName"]]["data"]["password"]
    assert base64.b64decode(password).decode() == "secret of redis"
    assert ("ConfigMap", volumes["place"]["configMap"]["name"]) in rendered
    assert "secret of redis" not in done.stdout


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl here")
    words = [kubectl, "kustomize", str(KUBERNETES / "overlays" / "example")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "inboxbooster-mailer-global.yaml" in done.stderr
