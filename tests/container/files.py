"""The container's files, checked without a container engine: they parse, agree with each other and with the server.

Where `docker compose` is at hand it judges the compose file as well. What only a build can show is not checked here.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tomllib
import unittest

import yaml

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = ROOT / "config"
INSTRUCTIONS = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT"}


def read_yaml(path):
    return yaml.safe_load(path.read_text())


def dockerfile():
    """The instructions with their arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (CONFIG / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [tuple(line.split(None, 1)) for line in lines if line.strip()]


def keys(table, prefix="CROSSPOINT"):
    """The environment variables that the manual's keys can be set by."""
    for name, value in table.items():
        path = f"{prefix}_{name.upper()}"
        if isinstance(value, dict):
            yield from keys(value, path)
        else:
            yield path


class Dockerfile(unittest.TestCase):
    def test_it_knows_its_instructions_and_copies_what_exists(self):
        ignored = (ROOT / ".dockerignore").read_text().split()
        for instruction, arguments in dockerfile():
            self.assertIn(instruction, INSTRUCTIONS)
            if instruction == "COPY" and "--from=" not in arguments:
                for source in arguments.split()[:-1]:
                    self.assertTrue((ROOT / source).exists(), source)
                    self.assertIn("!" + source.split("/")[0], ignored, "the build context leaves it out")

    def test_every_variable_it_sets_is_a_key_of_the_server(self):
        known = {"CROSSPOINT_CONFIG", *keys(tomllib.loads((CONFIG / "crosspoint.toml").read_text()))}
        for instruction, arguments in dockerfile():
            if instruction == "ENV":
                for assignment in arguments.split():
                    self.assertIn(assignment.split("=")[0], known)

    def test_it_does_not_run_as_root(self):
        users = [arguments for instruction, arguments in dockerfile() if instruction == "USER"]
        self.assertEqual(users, ["10001:10001"])

    def test_its_lists_in_exec_form_are_json(self):
        for instruction, arguments in dockerfile():
            if instruction in ("ENTRYPOINT", "HEALTHCHECK"):
                self.assertIsInstance(json.loads(arguments[arguments.index("[") :]), list)

    def test_the_health_check_is_the_program_with_a_command_that_it_has(self):
        exec_form = {
            instruction: json.loads(arguments[arguments.index("[") :])
            for instruction, arguments in dockerfile()
            if instruction in ("ENTRYPOINT", "HEALTHCHECK")
        }
        self.assertEqual(exec_form["HEALTHCHECK"], [*exec_form["ENTRYPOINT"], "ready"])
        commands = (ROOT / "src/config/flags.rs").read_text().split("pub enum Task {")[1].split("}")[0]
        self.assertIn("    Ready,", commands)


class Compose(unittest.TestCase):
    def setUp(self):
        self.services = read_yaml(ROOT / "docker-compose.yml")["services"]

    def test_one_media_port_with_the_same_number_inside_and_outside_and_no_host_network(self):
        port = tomllib.loads((CONFIG / "crosspoint.toml").read_text())["media"]["port"]
        ports = self.services["crosspoint"]["ports"]
        media = [published for published in ports if published.endswith(("/udp", "/tcp"))]
        self.assertEqual(media, [f"{port}:{port}/udp", f"{port}:{port}/tcp"])
        exposed = next(arguments for instruction, arguments in dockerfile() if instruction == "EXPOSE")
        self.assertEqual(exposed.split(), ["8080/tcp", f"{port}/udp", f"{port}/tcp"])
        self.assertTrue(all("network_mode" not in service for service in self.services.values()))

    def test_every_variable_it_sets_is_a_key_of_the_server(self):
        known = set(keys(tomllib.loads((CONFIG / "crosspoint.toml").read_text())))
        self.assertEqual(set(self.services["crosspoint"]["environment"]) - known, set())

    def test_only_media_is_open_to_other_computers_unless_asked_for(self):
        for name, service in self.services.items():
            for port in service["ports"]:
                local = port.startswith(("127.0.0.1:", "${HTTP_BIND:-127.0.0.1}:"))
                self.assertTrue(local or port.endswith(("/udp", "/tcp")), f"{name}: {port}")

    def test_mounted_files_exist(self):
        for service in self.services.values():
            for volume in service.get("volumes", []):
                if volume.startswith("./"):
                    self.assertTrue((ROOT / volume.split(":")[0]).exists(), volume)

    @unittest.skipUnless(shutil.which("docker"), "no docker client here")
    def test_docker_compose_accepts_it(self):
        if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode != 0:
            self.skipTest("this docker client has no compose")
        command = ["docker", "compose", "--file", str(ROOT / "docker-compose.yml"), "config", "--quiet"]
        environment = {**os.environ, "PUBLIC_IP": "192.0.2.1"}
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)


class Monitoring(unittest.TestCase):
    def test_prometheus_reads_the_server_at_the_name_compose_gives_it(self):
        jobs = read_yaml(CONFIG / "prometheus.yml")["scrape_configs"]
        targets = [target for job in jobs for config in job["static_configs"] for target in config["targets"]]
        self.assertEqual(targets, ["crosspoint:8080"])

    def test_grafana_finds_its_source_and_its_dashboards(self):
        provisioning = CONFIG / "grafana" / "provisioning"
        datasources = read_yaml(provisioning / "datasources" / "prometheus.yml")["datasources"]
        sources = {source["uid"] for source in datasources}
        dashboards = sorted((CONFIG / "grafana" / "dashboards").glob("*.json"))
        self.assertTrue(dashboards)
        for path in dashboards:
            dashboard = json.loads(path.read_text())
            self.assertEqual(dashboard["uid"], path.stem)
            ids = [panel["id"] for panel in dashboard["panels"]]
            self.assertEqual(len(ids), len(set(ids)), "panel ids are unique")
            for panel in dashboard["panels"]:
                if panel["type"] != "row":
                    self.assertIn(panel["datasource"]["uid"], sources, panel["title"])
                    self.assertTrue(all(target["expr"] for target in panel["targets"]), panel["title"])
                    self.assertTrue(panel["description"], panel["title"])

    def test_panels_do_not_overlap(self):
        for path in (CONFIG / "grafana" / "dashboards").glob("*.json"):
            taken = {}
            for panel in json.loads(path.read_text())["panels"]:
                at = panel["gridPos"]
                for x in range(at["x"], at["x"] + at["w"]):
                    for y in range(at["y"], at["y"] + at["h"]):
                        self.assertLess(x, 24, panel["title"])
                        self.assertNotIn((x, y), taken, f"{panel['title']} over {taken.get((x, y))}")
                        taken[x, y] = panel["title"]


if __name__ == "__main__":
    unittest.main()
