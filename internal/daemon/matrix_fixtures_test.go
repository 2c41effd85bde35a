package daemon

import (
	"fmt"
	"strings"
)

// matrixFixtures are the objects of the matrix by name: the member's and project p1's, or the cloud's.
func matrixFixtures() map[string]func(c *matrixCloud) string {
	constant := func(s string) func(*matrixCloud) string { return func(*matrixCloud) string { return s } }
	post := func(service, path, body, at string) func(*matrixCloud) string {
		return func(c *matrixCloud) string { return c.as(c.admin, service, "POST", c.fill(path), body, at) }
	}
	mine := func(service, path, body, at string) func(*matrixCloud) string {
		return func(c *matrixCloud) string {
			return c.as(c.tokens["member"], service, "POST", c.fill(path), body, at)
		}
	}
	get := func(service, path, at string) func(*matrixCloud) string {
		return func(c *matrixCloud) string { return c.as(c.admin, service, "GET", c.fill(path), "-", at) }
	}
	put := func(service, path, body string) func(*matrixCloud) string {
		return func(c *matrixCloud) string { return c.as(c.admin, service, "PUT", c.fill(path), body, "") }
	}
	named := func(service, path, body, at string) func(*matrixCloud) string {
		return func(c *matrixCloud) string { return c.as(c.admin, service, "PUT", c.fill(path), body, at) }
	}
	uploaded := func(c *matrixCloud) string {
		id := c.get("new_image")
		c.forget("new_image")
		if code, body := c.send(c.tokens["member"], matrixRequest{service: "image", method: "PUT", path: "/v2/images/" + id + "/file", body: "data",
			contentType: "application/octet-stream"}); code != 204 {
			c.t.Fatalf("upload: %d %s", code, body)
		}
		return id
	}
	image := func(visibility string) func(*matrixCloud) string {
		return mine("image", "/v2/images", `{"name":"x","disk_format":"raw","container_format":"bare","visibility":"`+visibility+`"}`, "id")
	}
	member := func(c *matrixCloud) string {
		return c.login("u-member", c.get("domain"), "secret", fmt.Sprintf(`{"project":{"id":%q}}`, c.get("project")))
	}
	port := func(server string) func(*matrixCloud) string {
		return func(c *matrixCloud) string {
			c.made[server] = c.get(server)
			return c.as(c.admin, "network", "GET", "/v2.0/ports?device_id="+c.get(server), "-", "ports.0.id")
		}
	}
	return map[string]func(c *matrixCloud) string{
		"one": constant("1"), "tag": constant("t"), "k": constant("k"), "ldap": constant("ldap"), "url": constant("url"), "host": constant("sim-1"),
		"default_name": constant("default"), "day": constant("2026-01-01 00:00:00"), "volume": constant("00000000-0000-4000-8000-0123456789ab"), "alias": constant("os-keypairs"), "ext_alias": constant("router"), "rc": constant("VCPU"),

		// identity
		"member_token": member, "spare_member_token": member,
		"spare_domain":    post("identity", "/v3/domains", `{"domain":{"name":"$new","enabled":false}}`, "domain.id"),
		"spare_project":   post("identity", "/v3/projects", `{"project":{"name":"$new","domain_id":"$domain"}}`, "project.id"),
		"spare_user":      post("identity", "/v3/users", `{"user":{"name":"$new","domain_id":"$domain"}}`, "user.id"),
		"group":           post("identity", "/v3/groups", `{"group":{"name":"$new","domain_id":"$domain"}}`, "group.id"),
		"role":            post("identity", "/v3/roles", `{"role":{"name":"$new"}}`, "role.id"),
		"prior_role":      post("identity", "/v3/roles", `{"role":{"name":"$new"}}`, "role.id"),
		"implied_role":    post("identity", "/v3/roles", `{"role":{"name":"$new"}}`, "role.id"),
		"region":          post("identity", "/v3/regions", `{"region":{}}`, "region.id"),
		"service":         post("identity", "/v3/services", `{"service":{"type":"t","name":"$new"}}`, "service.id"),
		"endpoint":        post("identity", "/v3/endpoints", `{"endpoint":{"service_id":"$service","interface":"public","url":"http://x"}}`, "endpoint.id"),
		"policy":          post("identity", "/v3/policies", `{"policy":{"type":"t","blob":"b"}}`, "policy.id"),
		"endpoint_policy": put("identity", "/v3/policies/$policy/OS-ENDPOINT-POLICY/endpoints/$endpoint", "-"),
		"credential":      post("identity", "/v3/credentials", `{"credential":{"type":"cert","blob":"$new","user_id":"$member"}}`, "credential.id"),
		"ec2":             post("identity", "/v3/users/$member/credentials/OS-EC2", `{"tenant_id":"$project"}`, "credential.access"),
		"trust": mine("identity", "/v3/OS-TRUST/trusts",
			`{"trust":{"trustor_user_id":"$member","trustee_user_id":"$other","impersonation":false,"project_id":"$project","roles":[{"name":"member"}]}}`, "trust.id"),
		"application_credential": mine("identity", "/v3/users/$member/application_credentials", `{"application_credential":{"name":"$new"}}`, "application_credential.id"),
		"access_rule": func(c *matrixCloud) string {
			app := c.as(c.tokens["member"], "identity", "POST", "/v3/users/"+c.get("member")+"/application_credentials",
				`{"application_credential":{"name":"$new","access_rules":[{"path":"/$new","method":"GET","service":"compute"}]}}`, "application_credential.id")
			rule := c.as(c.tokens["member"], "identity", "GET", "/v3/users/"+c.get("member")+"/application_credentials/"+app, "-", "application_credential.access_rules.0.id")
			c.as(c.tokens["member"], "identity", "DELETE", "/v3/users/"+c.get("member")+"/application_credentials/"+app, "-", "")
			return rule
		},
		"limited_service":  post("identity", "/v3/services", `{"service":{"type":"t","name":"$new"}}`, "service.id"),
		"registered_limit": post("identity", "/v3/registered_limits", `{"registered_limits":[{"service_id":"$limited_service","resource_name":"$new","default_limit":1}]}`, "registered_limits.0.id"),
		"limit_name": func(c *matrixCloud) string {
			return c.as(c.admin, "identity", "POST", "/v3/registered_limits", c.fill(`{"registered_limits":[{"service_id":"$limited_service","resource_name":"$new","default_limit":1}]}`),
				"registered_limits.0.resource_name")
		},
		"limit": func(c *matrixCloud) string {
			c.forget("fresh_limit_name")
			return c.as(c.admin, "identity", "POST", "/v3/limits",
				`{"limits":[{"service_id":"$limited_service","resource_name":"$fresh_limit_name","resource_limit":1,"project_id":"$project"}]}`, "limits.0.id")
		},
		"fresh_limit_name": func(c *matrixCloud) string {
			return c.as(c.admin, "identity", "POST", "/v3/registered_limits", c.fill(`{"registered_limits":[{"service_id":"$limited_service","resource_name":"$new","default_limit":1}]}`),
				"registered_limits.0.resource_name")
		},
		"endpoint_group":   post("identity", "/v3/OS-EP-FILTER/endpoint_groups", `{"endpoint_group":{"name":"$new","filters":{"interface":"public"}}}`, "endpoint_group.id"),
		"idp":              named("identity", "/v3/OS-FEDERATION/identity_providers/$new", `{"identity_provider":{"enabled":true}}`, "identity_provider.id"),
		"mapping":          named("identity", "/v3/OS-FEDERATION/mappings/$new", `{"mapping":{"rules":[{"local":[],"remote":[{"type":"x"}]}]}}`, "mapping.id"),
		"protocol":         named("identity", "/v3/OS-FEDERATION/identity_providers/$idp/protocols/$new", `{"protocol":{"mapping_id":"$mapping"}}`, "protocol.id"),
		"service_provider": named("identity", "/v3/OS-FEDERATION/service_providers/$new", `{"service_provider":{"auth_url":"https://x/a","sp_url":"https://x/s"}}`, "service_provider.id"),
		"consumer":         post("identity", "/v3/OS-OAUTH1/consumers", `{"consumer":{"description":"x"}}`, "consumer.id"),
		"domain_config":    put("identity", "/v3/domains/$domain/config", `{"config":{"ldap":{"url":"ldap://x"}}}`),

		// image
		"private_image": image("private"), "new_image": image("private"), "data_image": uploaded, "data_image2": uploaded, "spare_image": image("private"),
		"shared_image": func(c *matrixCloud) string {
			id := image("shared")(c)
			return c.as(c.tokens["member"], "image", "POST", "/v2/images/"+id+"/members", `{"member":"$other_project"}`, "image_id")
		},
		"spare_image_member": mine("image", "/v2/images/$shared_image/members", `{"member":"$new"}`, "member_id"),
		"namespace":          post("image", "/v2/metadefs/namespaces", `{"namespace":"$new","owner":"$project","visibility":"private"}`, "namespace"),
		"object":             post("image", "/v2/metadefs/namespaces/$namespace/objects", `{"name":"$new"}`, "name"),
		"property":           post("image", "/v2/metadefs/namespaces/$namespace/properties", `{"name":"$new","title":"t","type":"string"}`, "name"),
		"mdtag":              post("image", "/v2/metadefs/namespaces/$namespace/tags/$new", "-", "name"),
		"spare_object":       post("image", "/v2/metadefs/namespaces/$spare_namespace/objects", `{"name":"$new"}`, "name"),
		"spare_property":     post("image", "/v2/metadefs/namespaces/$spare_namespace/properties", `{"name":"$new","title":"t","type":"string"}`, "name"),
		"spare_mdtag":        post("image", "/v2/metadefs/namespaces/$spare_namespace/tags/$new", "-", "name"),
		"association":        post("image", "/v2/metadefs/namespaces/$namespace/resource_types", `{"name":"$new"}`, "name"),
		"image_k": func(c *matrixCloud) string {
			if code, body := c.send(c.admin, matrixRequest{service: "image", method: "PATCH", path: "/v2/images/" + c.get("private_image"),
				contentType: "application/openstack-images-v2.1-json-patch", body: `[{"op":"add","path":"/k","value":"v"}]`}); code != 200 {
				c.t.Fatalf("property k: %d %s", code, body)
			}
			return ""
		},
		"image": get("image", "/v2/images?name=cirros", "images.0.id"),

		// network
		"public_net": get("network", "/v2.0/networks?name=public", "networks.0.id"),
		"net": func(c *matrixCloud) string {
			id := mine("network", "/v2.0/networks", `{"network":{"name":"net1"}}`, "network.id")(c)
			c.made["subnet"] = c.as(c.tokens["member"], "network", "POST", "/v2.0/subnets", fmt.Sprintf(`{"subnet":{"network_id":%q,"ip_version":4,"cidr":"10.0.0.0/16"}}`, id), "subnet.id")
			return id
		},
		"net_name":  get("network", "/v2.0/networks/$net", "network.name"),
		"spare_net": mine("network", "/v2.0/networks", `{"network":{"name":"x"}}`, "network.id"),
		"shared_net": func(c *matrixCloud) string {
			id := c.as(c.admin, "network", "POST", "/v2.0/networks", `{"network":{"name":"shared","shared":true}}`, "network.id")
			c.as(c.admin, "network", "POST", "/v2.0/subnets", fmt.Sprintf(`{"subnet":{"network_id":%q,"ip_version":4,"cidr":"10.1.0.0/16"}}`, id), "")
			return id
		},
		"subnet":       func(c *matrixCloud) string { c.get("net"); return c.made["subnet"] },
		"spare_subnet": mine("network", "/v2.0/subnets", `{"subnet":{"network_id":"$net","ip_version":4,"cidr":"$cidr"}}`, "subnet.id"),
		"port":         mine("network", "/v2.0/ports", `{"port":{"network_id":"$net"}}`, "port.id"),
		"sg":           mine("network", "/v2.0/security-groups", `{"security_group":{"name":"x"}}`, "security_group.id"),
		"sgr":          mine("network", "/v2.0/security-group-rules", `{"security_group_rule":{"security_group_id":"$sg","direction":"ingress","protocol":"tcp","port_range_min":$port_number,"port_range_max":65000}}`, "security_group_rule.id"),
		"router":       mine("network", "/v2.0/routers", `{"router":{"name":"x"}}`, "router.id"),
		"spare_router": mine("network", "/v2.0/routers", `{"router":{"name":"x"}}`, "router.id"),
		"router_subnet": func(c *matrixCloud) string {
			id := c.as(c.tokens["member"], "network", "POST", "/v2.0/subnets", `{"subnet":{"network_id":"$net","ip_version":4,"cidr":"$cidr"}}`, "subnet.id")
			c.as(c.tokens["member"], "network", "PUT", "/v2.0/routers/"+c.get("spare_router")+"/add_router_interface", fmt.Sprintf(`{"subnet_id":%q}`, id), "")
			return id
		},
		"fip":                 mine("network", "/v2.0/floatingips", `{"floatingip":{"floating_network_id":"$public_net"}}`, "floatingip.id"),
		"subnetpool":          mine("network", "/v2.0/subnetpools", `{"subnetpool":{"name":"x","prefixes":["10.99.0.0/16"]}}`, "subnetpool.id"),
		"address_scope":       mine("network", "/v2.0/address-scopes", `{"address_scope":{"name":"x","ip_version":4}}`, "address_scope.id"),
		"address_group":       mine("network", "/v2.0/address-groups", `{"address_group":{"name":"x"}}`, "address_group.id"),
		"spare_address_group": mine("network", "/v2.0/address-groups", `{"address_group":{"name":"x"}}`, "address_group.id"),
		"pf_router": func(c *matrixCloud) string {
			id := c.as(c.tokens["member"], "network", "POST", "/v2.0/routers", `{"router":{"external_gateway_info":{"network_id":"$public_net"}}}`, "router.id")
			c.as(c.tokens["member"], "network", "PUT", "/v2.0/routers/"+id+"/add_router_interface", `{"subnet_id":"$subnet"}`, "")
			return id
		},
		"pf_port": func(c *matrixCloud) string {
			c.get("pf_router")
			return c.as(c.tokens["member"], "network", "POST", "/v2.0/ports", `{"port":{"network_id":"$net"}}`, "port.id")
		},
		"pf_ip":                       get("network", "/v2.0/ports/$pf_port", "port.fixed_ips.0.ip_address"),
		"pf_fip":                      mine("network", "/v2.0/floatingips", `{"floatingip":{"floating_network_id":"$public_net"}}`, "floatingip.id"),
		"pf":                          mine("network", "/v2.0/floatingips/$pf_fip/port_forwardings", `{"port_forwarding":{"internal_port_id":"$pf_port","internal_ip_address":"$pf_ip","internal_port":$port_number,"external_port":$port_number,"protocol":"tcp"}}`, "port_forwarding.id"),
		"spare_pf":                    mine("network", "/v2.0/floatingips/$pf_fip/port_forwardings", `{"port_forwarding":{"internal_port_id":"$pf_port","internal_ip_address":"$pf_ip","internal_port":$port_number,"external_port":$port_number,"protocol":"udp"}}`, "port_forwarding.id"),
		"qos":                         post("network", "/v2.0/qos/policies", `{"policy":{"name":"x","project_id":"$project"}}`, "policy.id"),
		"spare_qos":                   post("network", "/v2.0/qos/policies", `{"policy":{"name":"x","project_id":"$project"}}`, "policy.id"),
		"qos_type":                    func(*matrixCloud) string { return "bandwidth_limit" },
		"qos_bandwidth_limit":         post("network", "/v2.0/qos/policies/$qos/bandwidth_limit_rules", `{"bandwidth_limit_rule":{"max_kbps":1}}`, "bandwidth_limit_rule.id"),
		"spare_qos_bandwidth_limit":   post("network", "/v2.0/qos/policies/$spare_qos/bandwidth_limit_rules", `{"bandwidth_limit_rule":{"max_kbps":1}}`, "bandwidth_limit_rule.id"),
		"qos_packet_rate_limit":       post("network", "/v2.0/qos/policies/$qos/packet_rate_limit_rules", `{"packet_rate_limit_rule":{"max_kpps":1}}`, "packet_rate_limit_rule.id"),
		"spare_qos_packet_rate_limit": post("network", "/v2.0/qos/policies/$spare_qos/packet_rate_limit_rules", `{"packet_rate_limit_rule":{"max_kpps":1}}`, "packet_rate_limit_rule.id"),
		"qos_dscp_marking":            post("network", "/v2.0/qos/policies/$qos/dscp_marking_rules", `{"dscp_marking_rule":{"dscp_mark":8}}`, "dscp_marking_rule.id"),
		"spare_qos_dscp_marking":      post("network", "/v2.0/qos/policies/$spare_qos/dscp_marking_rules", `{"dscp_marking_rule":{"dscp_mark":8}}`, "dscp_marking_rule.id"),
		"default_sgr":                 post("network", "/v2.0/default-security-group-rules", `{"default_security_group_rule":{"direction":"ingress","protocol":"udp","port_range_min":$port_number,"port_range_max":65000,"used_in_default_sg":false,"used_in_non_default_sg":false}}`, "default_security_group_rule.id"),
		"spare_default_sgr":           post("network", "/v2.0/default-security-group-rules", `{"default_security_group_rule":{"direction":"ingress","protocol":"udp","port_range_min":$port_number,"port_range_max":65000,"used_in_default_sg":false,"used_in_non_default_sg":false}}`, "default_security_group_rule.id"),
		"rbac":                        mine("network", "/v2.0/rbac-policies", `{"rbac_policy":{"object_type":"network","object_id":"$shared_by_rbac","action":"access_as_shared","target_tenant":"$other_project"}}`, "rbac_policy.id"),
		"spare_rbac": func(c *matrixCloud) string {
			c.forget("spare_net")
			return c.as(c.tokens["member"], "network", "POST", "/v2.0/rbac-policies", `{"rbac_policy":{"object_type":"network","object_id":"$spare_net","action":"access_as_shared","target_tenant":"$other_project"}}`, "rbac_policy.id")
		},
		"shared_by_rbac":    mine("network", "/v2.0/networks", `{"network":{"name":"x"}}`, "network.id"),
		"quota_project":     func(c *matrixCloud) string { c.need("quota_project_set"); return c.get("other_project") },
		"quota_project_set": put("network", "/v2.0/quotas/$other_project", `{"quota":{"network":-1}}`),
		"agent":             get("network", "/v2.0/agents?binary=neutron-dhcp-agent", "agents.0.id"),
		"unbound_port":      mine("network", "/v2.0/ports", `{"port":{"network_id":"$net"}}`, "port.id"),
		"unshared_net":      mine("network", "/v2.0/networks", `{"network":{"name":"x"}}`, "network.id"),
		"spare_agent":       get("network", "/v2.0/agents?binary=neutron-metadata-agent&host=sim-2", "agents.0.id"),
		"l3_agent":          get("network", "/v2.0/agents?binary=neutron-l3-agent", "agents.0.id"),

		// compute
		"flavor":         post("compute", "/v2.1/flavors", `{"flavor":{"name":"$new","ram":1,"vcpus":1,"disk":1}}`, "flavor.id"),
		"flavor2":        post("compute", "/v2.1/flavors", `{"flavor":{"name":"$new","ram":2,"vcpus":1,"disk":1}}`, "flavor.id"),
		"private_flavor": post("compute", "/v2.1/flavors", `{"flavor":{"name":"$new","ram":1,"vcpus":1,"disk":1,"os-flavor-access:is_public":false}}`, "flavor.id"),
		"spec":           post("compute", "/v2.1/flavors/$flavor/os-extra_specs", `{"extra_specs":{"k":"v"}}`, ""),
		"public_key":     constant("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBlQ0Zp8pXzV5uD6gV3mY9b2lD6rjq9o0cH8mKcT1h9K x"),
		"keypair":        mine("compute", "/v2.1/os-keypairs", `{"keypair":{"name":"$new","type":"ssh","public_key":"$public_key"}}`, "keypair.name"),
		"server":         mine("compute", "/v2.1/servers", `{"server":{"name":"x","flavorRef":"$flavor","imageRef":"$image","networks":[{"uuid":"$net"}]}}`, "server.id"),
		"server_port":    port("server"), "spare_server_port": port("spare_server"),
		"server_request": get("compute", "/v2.1/servers/$server/os-instance-actions", "instanceActions.0.request_id"),
		"unlocked": func(c *matrixCloud) string {
			return c.as(c.admin, "compute", "POST", "/v2.1/servers/"+c.get("server")+"/action", `{"unlock":null}`, "")
		},
		"meta":         post("compute", "/v2.1/servers/$server/metadata", `{"metadata":{"k":"v"}}`, ""),
		"server_group": mine("compute", "/v2.1/os-server-groups", `{"server_group":{"name":"x","policy":"affinity"}}`, "server_group.id"),
		"aggregate":    post("compute", "/v2.1/os-aggregates", `{"aggregate":{"name":"$new"}}`, "aggregate.id"),
		"aggregate_host": func(c *matrixCloud) string {
			c.send(c.admin, matrixRequest{service: "compute", method: "POST", path: "/v2.1/os-aggregates/" + c.get("aggregate") + "/action", body: `{"add_host":{"host":"sim-1"}}`})
			return ""
		},
		"compute_service": get("compute", "/v2.1/os-services?binary=nova-compute", "services.0.id"),
		"hypervisor":      get("compute", "/v2.1/os-hypervisors", "hypervisors.0.id"),

		// placement
		"rp": post("placement", "/resource_providers", `{"name":"$new"}`, "uuid"),
		"rp_empty": func(c *matrixCloud) string {
			id := post("placement", "/resource_providers", `{"name":"$new"}`, "uuid")(c)
			c.as(c.admin, "placement", "PUT", "/resource_providers/"+id+"/inventories", `{"inventories":{"VCPU":{"total":1000}},"resource_provider_generation":0}`, "")
			return id
		},
		"inventory": func(c *matrixCloud) string {
			id := c.get("rp")
			generation := c.as(c.admin, "placement", "GET", "/resource_providers/"+id, "-", "generation")
			return c.as(c.admin, "placement", "PUT", "/resource_providers/"+id+"/inventories", `{"inventories":{"VCPU":{"total":4}},"resource_provider_generation":`+generation+`}`, "")
		},
		"custom_rc": func(c *matrixCloud) string {
			name := c.get("new_custom")
			c.as(c.admin, "placement", "PUT", "/resource_classes/"+name, "", "")
			return name
		},
		"trait": func(c *matrixCloud) string {
			name := c.get("new_custom")
			c.as(c.admin, "placement", "PUT", "/traits/"+name, "", "")
			return strings.TrimSpace(name)
		},
	}
}
