package placement

import (
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
)

// The first and the last microversion.
const (
	minVersion = "1.0"
	maxVersion = "1.39"
)

func (s *Service) service() *api.Service {
	const (
		providers   = "/resource_providers"
		provider    = providers + "/{uuid}"
		inventories = provider + "/inventories"
		inventory   = inventories + "/{resource_class}"
		classes     = "/resource_classes"
		class       = classes + "/{name}"
	)
	rp := func(name string) api.Rule { return api.Scoped("placement:resource_providers:" + name) }
	rule := func(name string) api.Rule { return api.Scoped("placement:" + name) }
	routes := []api.Route{
		api.Handle("GET", "", api.Public(), 200, s.root),

		api.Handle("GET", providers, rp("list"), 200, s.listProviders),
		api.Handle("POST", providers, rp("create"), 200, s.createProvider),
		api.Handle("GET", provider, rp("show"), 200, s.showProvider),
		api.Handle("PUT", provider, rp("update"), 200, s.updateProvider),
		api.Handle("DELETE", provider, rp("delete"), 204, s.deleteProvider),

		api.Handle("GET", inventories, rp("inventories:list"), 200, s.listInventories),
		api.Handle("POST", inventories, rp("inventories:create"), 201, s.createInventory),
		api.Handle("PUT", inventories, rp("inventories:update"), 200, s.setInventories),
		api.Handle("DELETE", inventories, rp("inventories:delete"), 204, s.deleteInventories),
		api.Handle("GET", inventory, rp("inventories:show"), 200, s.showInventory),
		api.Handle("PUT", inventory, rp("inventories:update"), 200, s.updateInventory),
		api.Handle("DELETE", inventory, rp("inventories:delete"), 204, s.deleteInventory),

		api.Handle("GET", provider+"/usages", rp("usages"), 200, s.providerUsages),
		api.Handle("GET", provider+"/aggregates", rp("aggregates:list"), 200, s.listAggregates, api.MV("1.1-")),
		api.Handle("PUT", provider+"/aggregates", rp("aggregates:update"), 200, s.setAggregates, api.MV("1.1-")),
		api.Handle("GET", provider+"/traits", rp("traits:list"), 200, s.listProviderTraits, api.MV("1.6-")),
		api.Handle("PUT", provider+"/traits", rp("traits:update"), 200, s.setProviderTraits, api.MV("1.6-")),
		api.Handle("DELETE", provider+"/traits", rp("traits:delete"), 204, s.deleteProviderTraits, api.MV("1.6-")),
		api.Handle("GET", provider+"/allocations", rp("allocations:list"), 200, s.listProviderAllocations),

		api.Handle("GET", classes, rule("resource_classes:list"), 200, s.listClasses, api.MV("1.2-")),
		api.Handle("POST", classes, rule("resource_classes:create"), 201, s.createClass, api.MV("1.2-")),
		api.Handle("GET", class, rule("resource_classes:show"), 200, s.showClass, api.MV("1.2-")),
		api.Handle("PUT", class, rule("resource_classes:update"), 200, s.renameClass, api.MV("1.2-1.6")),
		api.Handle("PUT", class, rule("resource_classes:update"), 204, s.putClass, api.MV("1.7-")),
		api.Handle("DELETE", class, rule("resource_classes:delete"), 204, s.deleteClass, api.MV("1.2-")),

		api.Handle("GET", "/traits", rule("traits:list"), 200, s.listTraits, api.MV("1.6-")),
		api.Handle("GET", "/traits/{name}", rule("traits:show"), 204, s.showTrait, api.MV("1.6-")),
		api.Handle("PUT", "/traits/{name}", rule("traits:update"), 204, s.putTrait, api.MV("1.6-")),
		api.Handle("DELETE", "/traits/{name}", rule("traits:delete"), 204, s.deleteTrait, api.MV("1.6-")),

		api.Handle("POST", "/allocations", rule("allocations:manage"), 204, s.postAllocations, api.MV("1.13-")),
		api.Handle("GET", "/allocations/{consumer_uuid}", rule("allocations:list"), 200, s.listConsumer),
		api.Handle("PUT", "/allocations/{consumer_uuid}", rule("allocations:update"), 204, s.putAllocations),
		api.Handle("DELETE", "/allocations/{consumer_uuid}", rule("allocations:delete"), 204, s.deleteAllocations),
		api.Handle("GET", "/allocation_candidates", rule("allocation_candidates:list"), 200, s.listCandidates, api.MV("1.10-")),
		api.Handle("GET", "/usages", api.Object("placement:usages"), 200, s.usages, api.MV("1.9-")),
		api.Handle("POST", "/reshaper", rule("reshaper:reshape"), 204, s.reshape, api.MV("1.30-")),
	}
	return &api.Service{
		Name: "placement", Prefix: "/placement", Routes: routes, Policy: s.policy, Schema: schema.Placement, Dialect: dialect(),
		Microversions: &api.Microversions{
			Service: "placement", Min: api.MustVersion(minVersion), Max: api.MustVersion(maxVersion),
			Invalid: invalidVersion, NotSupported: versionNotSupported,
		},
		Rewrite: rewrite,
	}
}

// rewrite makes paths with a final slash unknown, as they are upstream; the root alone has one. So are those that no database stores.
func rewrite(_ *http.Request, path string) string {
	if len(path) > 1 && strings.HasSuffix(path, "/") || strings.ContainsRune(path, 0) || !utf8.ValidString(path) {
		return "/no-such-path"
	}
	return path
}
