"""What must hold for the manifests and the compose file beyond their schemas.

Run by `cargo xtask test --only deploy`, which renders the overlay to the file named by RENDERED.
"""

import os
import pathlib
import unittest

import compose_spec
import kubernetes_validate
import yaml

DEPLOY = pathlib.Path(__file__).parent
COMPOSE = (DEPLOY / "compose.yaml").read_text()


def rendered():
    with open(os.environ["RENDERED"], encoding="utf-8") as file:
        return list(yaml.safe_load_all(file))


def one(kind):
    found = [item for item in rendered() if item["kind"] == kind]
    assert len(found) == 1, f"{len(found)} objects of kind {kind}"
    return found[0]


def seconds(text):
    assert text.endswith("s"), text
    return int(text[:-1])


def grace(toml):
    """`shutdown.grace` of a configuration file, in seconds."""
    line = next(line for line in toml.splitlines() if line.startswith("grace"))
    return seconds(line.split('"')[1])


class SingleNode(unittest.TestCase):
    def setUp(self):
        self.pod = one("Deployment")["spec"]["template"]["spec"]
        (self.container,) = self.pod["containers"]

    def test_an_unknown_field_would_be_found(self):
        deployment = one("Deployment")
        deployment["spec"]["template"]["spec"]["hostnetwork"] = True
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(deployment, "1.30", strict=True)

    def test_it_has_no_cpu_limit_and_memory_is_guaranteed(self):
        resources = self.container["resources"]
        self.assertEqual(set(resources["limits"]), {"memory"})
        self.assertEqual(resources["limits"]["memory"], resources["requests"]["memory"])

    def test_media_has_one_udp_port_on_the_nodes_network(self):
        udp = [port for port in self.container["ports"] if port["protocol"] == "UDP"]
        self.assertEqual(len(udp), 1)
        self.assertTrue(self.pod["hostNetwork"])

    def test_liveness_and_readiness_ask_different_questions(self):
        path = lambda probe: self.container[probe]["httpGet"]["path"]
        self.assertEqual(path("livenessProbe"), "/livez")
        self.assertEqual(path("readinessProbe"), "/readyz")

    def test_no_client_can_take_the_connections_that_probes_need(self):
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            self.assertEqual(self.container[probe]["httpGet"]["port"], "metrics")

    def test_a_hung_process_does_not_get_the_grace_of_a_stop(self):
        short = self.container["livenessProbe"]["terminationGracePeriodSeconds"]
        self.assertLess(short, self.pod["terminationGracePeriodSeconds"])

    def test_a_stop_is_bounded_and_longer_than_the_servers_own(self):
        (config,) = one("ConfigMap")["data"].values()
        self.assertGreater(self.pod["terminationGracePeriodSeconds"], grace(config))
        self.assertLess(self.pod["terminationGracePeriodSeconds"], 600)

    def test_the_process_has_no_rights(self):
        pod, container = self.pod["securityContext"], self.container["securityContext"]
        self.assertTrue(pod["runAsNonRoot"])
        self.assertEqual(pod["seccompProfile"], {"type": "RuntimeDefault"})
        self.assertFalse(container["allowPrivilegeEscalation"])
        self.assertTrue(container["readOnlyRootFilesystem"])
        self.assertEqual(container["capabilities"], {"drop": ["ALL"]})
        self.assertFalse(self.pod["automountServiceAccountToken"])

    def test_keys_are_referenced_and_not_contained(self):
        self.assertNotIn("Secret", [item["kind"] for item in rendered()])
        secrets = [volume["secret"]["secretName"] for volume in self.pod["volumes"] if "secret" in volume]
        self.assertEqual(secrets, ["madang-keys"])

    def test_services_do_not_define_settings(self):
        self.assertFalse(self.pod["enableServiceLinks"])

    def test_two_pods_never_want_the_same_ports(self):
        update = one("Deployment")["spec"]["strategy"]["rollingUpdate"]
        self.assertEqual(update["maxSurge"], 0)

    def test_the_service_selects_the_pods(self):
        labels = one("Deployment")["spec"]["template"]["metadata"]["labels"]
        self.assertLessEqual(one("Service")["spec"]["selector"].items(), labels.items())


class Compose(unittest.TestCase):
    def setUp(self):
        self.service = yaml.safe_load(COMPOSE)["services"]["madang"]

    def test_the_file_is_a_compose_file(self):
        compose_spec.PyCompose.from_yaml(COMPOSE)

    def test_an_unknown_key_would_be_found(self):
        with self.assertRaises(ValueError):
            compose_spec.PyCompose.from_yaml(COMPOSE.replace("read_only:", "readonly:"))

    def test_the_process_has_no_rights(self):
        self.assertTrue(self.service["read_only"])
        self.assertEqual(self.service["cap_drop"], ["ALL"])
        self.assertEqual(self.service["security_opt"], ["no-new-privileges:true"])
        self.assertNotIn(self.service["user"].split(":")[0], ("0", "root"))

    def test_a_stop_is_longer_than_the_servers_own(self):
        config = (DEPLOY / "madang.toml").read_text()
        self.assertGreater(seconds(self.service["stop_grace_period"]), grace(config))


if __name__ == "__main__":
    unittest.main()
