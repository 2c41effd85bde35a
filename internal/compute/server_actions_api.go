package compute

import (
	"context"
	"encoding/json"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/api/schema"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// action is one action of POST /servers/{id}/action.
type action struct {
	schemas []api.VersionedSchema // nil: the argument is not looked at
	mv      string                // empty: always
	run     func(ctx context.Context, r *api.Request, arg any) (any, error)
}

// actions is the table of nova/api/openstack/compute/routes.py.
func (s *Service) actionTable() map[string]action {
	return map[string]action{
		"os-start":            {run: s.power("start")},
		"os-stop":             {run: s.power("stop")},
		"pause":               {run: s.power("pause")},
		"unpause":             {run: s.power("unpause")},
		"suspend":             {run: s.power("suspend")},
		"resume":              {run: s.power("resume")},
		"reboot":              {schemas: serversActionRebootBody(), run: s.reboot},
		"rebuild":             {schemas: serversActionRebuildBody(), run: s.rebuild},
		"lock":                {schemas: lockServerLockBody(), run: s.lock},
		"unlock":              {run: s.unlock},
		"os-resetState":       {schemas: adminActionsResetStateBody(), run: s.resetState},
		"resetNetwork":        {run: s.gone410},
		"injectNetworkInfo":   {run: s.injectNetworkInfo},
		"forceDelete":         {run: s.forceDelete},
		"restore":             {run: s.restore},
		"os-getConsoleOutput": {schemas: consoleOutputGetConsoleOutputBody(), run: s.consoleOutput},
		"addSecurityGroup":    {run: s.changeSecurityGroup("add")},
		"removeSecurityGroup": {run: s.changeSecurityGroup("remove")},
		"addFloatingIp":       {schemas: floatingIpsAddFloatingIpBody(), mv: "2.1-2.43", run: s.addFloatingIP},
		"removeFloatingIp":    {schemas: floatingIpsRemoveFloatingIpBody(), mv: "2.1-2.43", run: s.removeFloatingIP},
		"changePassword":      {schemas: adminPasswordChangePasswordBody(), run: s.changePassword},
		"createImage":         {schemas: serversActionCreateImageBody(), run: s.refuse("createImage", pServers+"create_image")},
		"createBackup":        {schemas: createBackupCreateBackupBody(), run: s.refuse("createBackup", "os_compute_api:os-create-backup")},
		"resize":              {schemas: serversActionResizeBody(), run: s.resize},
		"confirmResize":       {run: s.notResized("confirm_resize")},
		"revertResize":        {run: s.notResized("revert_resize")},
		"migrate":             {schemas: migrateServerMigrateBody(), run: s.refuse("migrate", "os_compute_api:os-migrate-server:migrate")},
		"os-migrateLive":      {schemas: migrateServerMigrateLiveBody(), run: s.refuse("os-migrateLive", "os_compute_api:os-migrate-server:migrate_live")},
		"evacuate":            {schemas: evacuateEvacuateBody(), run: s.refuse("evacuate", "os_compute_api:os-evacuate")},
		"rescue":              {schemas: rescueRescueBody(), run: s.refuse("rescue", "os_compute_api:os-rescue")},
		"unrescue":            {run: s.wrongState("unrescue", "os_compute_api:os-unrescue")},
		"shelve":              {run: s.refuse("shelve", "os_compute_api:os-shelve:shelve")},
		"shelveOffload":       {run: s.wrongState("shelveOffload", "os_compute_api:os-shelve:shelve_offload")},
		"unshelve":            {schemas: shelveUnshelveBody(), run: s.wrongState("unshelve", "os_compute_api:os-shelve:unshelve")},
		"trigger_crash_dump":  {schemas: serversActionTriggerCrashDumpBody(), mv: "2.17-", run: s.refuse("trigger_crash_dump", pServers+"trigger_crash_dump")},
		"addFixedIp":          {schemas: multinicAddFixedIpBody(), mv: "2.1-2.43", run: s.refuse("addFixedIp", "os_compute_api:os-multinic:add")},
		"removeFixedIp":       {schemas: multinicRemoveFixedIpBody(), mv: "2.1-2.43", run: s.refuse("removeFixedIp", "os_compute_api:os-multinic:remove")},
		"os-getVNCConsole":    {schemas: remoteConsolesGetVncConsoleBody(), mv: "2.1-2.5", run: s.noConsole("os-getVNCConsole")},
		"os-getSPICEConsole":  {schemas: remoteConsolesGetSpiceConsoleBody(), mv: "2.1-2.5", run: s.noConsole("os-getSPICEConsole")},
		"os-getRDPConsole":    {schemas: remoteConsolesGetRdpConsoleBody(), mv: "2.1-2.5", run: s.noConsole("os-getRDPConsole")},
		"os-getSerialConsole": {schemas: remoteConsolesGetSerialConsoleBody(), mv: "2.1-2.5", run: s.noConsole("os-getSerialConsole")},
	}
}

// actionOf is the one member of an action's body.
func actionOf(raw json.RawMessage) (name string, arg any, err error) {
	v, err := decodeMap(raw)
	if err != nil || len(v) != 1 {
		return "", nil, fault.BadRequest("Malformed request body")
	}
	for name, arg = range v {
	}
	return name, arg, nil
}

// validate checks an action's body.
func validate(r *api.Request, schemas []api.VersionedSchema, raw json.RawMessage) error {
	for _, s := range schemas {
		if s.MV != (api.Range{}) && !s.MV.Has(r.MV) {
			continue
		}
		v, err := schema.Decode(raw)
		if err != nil {
			return fault.BadRequest("Malformed request body")
		}
		if e := schema.Nova.Validate(s.Schema, v); e != nil {
			return fault.BadRequest("%s", e.Error())
		}
	}
	return nil
}

func (s *Service) serverAction(ctx context.Context, r *api.Request, raw json.RawMessage) (any, error) {
	name, arg, err := actionOf(raw)
	if err != nil {
		return nil, err
	}
	a, ok := s.actions[name]
	if !ok || a.mv != "" && !api.MustRange(a.mv).Has(r.MV) {
		if ok {
			return nil, fault.NotFound("The resource could not be found.")
		}
		return nil, fault.BadRequest("There is no such action: %s", name)
	}
	r.Note(api.Note{Action: "update/" + name})
	if err := validate(r, a.schemas, raw); err != nil {
		return nil, err
	}
	return a.run(ctx, r, arg)
}
