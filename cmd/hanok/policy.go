package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/hanok-cloud/hanok/internal/daemon"
	"github.com/hanok-cloud/hanok/internal/doctor"
)

type policyCmd struct {
	List    policyListCmd    `cmd:"" help:"Show every rule: the check in force, whether policy.yaml has it, its scopes and requests."`
	Check   policyCheckCmd   `cmd:"" help:"Ask a rule in the name of a user: the roles, the verdict and why. Ends with 1 when it refuses."`
	Explain policyExplainCmd `cmd:"" help:"Say why a request was refused (403, or a 404 that hides it): rule, target, roles, and who would pass."`
}

type policyListCmd struct {
	Service string `arg:"" optional:"" help:"identity, image, placement, network or compute; all without."`
	JSON    bool   `help:"Print JSON." name:"json"`
}

func (p policyListCmd) Run(ctx context.Context, g *globals) error {
	_, paths, err := g.load()
	if err != nil {
		return err
	}
	rules, err := daemon.PolicyList(ctx, paths, p.Service)
	if err != nil {
		return err
	}
	if p.JSON {
		return printJSON(rules)
	}
	service := ""
	for _, r := range rules {
		if r.Service != service {
			service = r.Service
			fmt.Printf("# %s\n", service)
		}
		fmt.Print(r)
	}
	return nil
}

type policyCheckCmd struct {
	Rule          string            `arg:"" help:"The rule's name, such as os_compute_api:servers:delete."`
	User          string            `help:"The user's name or id." required:""`
	UserDomain    string            `help:"Domain of the user's name." default:"Default"`
	Project       string            `help:"Scope: a project's name or id." xor:"scope"`
	ProjectDomain string            `help:"Domain of the project's name." default:"Default"`
	Domain        string            `help:"Scope: a domain's name or id." xor:"scope"`
	System        bool              `help:"Scope: the system." xor:"scope"`
	Service       string            `help:"The service, when several have a rule of that name."`
	Target        map[string]string `help:"Attributes of the object, such as project_id=ID. Without: something of the caller's own." placeholder:"ATTRIBUTE=VALUE"`
	JSON          bool              `help:"Print JSON." name:"json"`
}

func (p policyCheckCmd) Run(ctx context.Context, g *globals) error {
	c, paths, err := g.load()
	if err != nil {
		return err
	}
	q := daemon.PolicyQuestion{Service: p.Service, Rule: p.Rule, Target: p.Target}
	q.Who.User, q.Who.UserDomain, q.Who.Project, q.Who.ProjectDomain = p.User, p.UserDomain, p.Project, p.ProjectDomain
	q.Who.Domain, q.Who.System = p.Domain, p.System
	a, err := daemon.PolicyCheck(ctx, c, paths, q)
	if err != nil {
		return err
	}
	if p.JSON {
		err = printJSON(a)
	} else {
		fmt.Print(a)
	}
	if err == nil && !a.Granted {
		os.Exit(1)
	}
	return err
}

type policyExplainCmd struct {
	RequestID string `arg:"" help:"The answer's x-openstack-request-id (req-…)."`
	JSON      bool   `help:"Print JSON." name:"json"`
}

func (p policyExplainCmd) Run(ctx context.Context, g *globals) error {
	c, paths, err := g.load()
	if err != nil {
		return err
	}
	x, err := daemon.PolicyExplain(ctx, c, paths, p.RequestID)
	if err != nil {
		return err
	}
	if p.JSON {
		return printJSON(x)
	}
	fmt.Print(x)
	return nil
}

func printJSON(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// policyFindings is what the doctor says about policy files.
func policyFindings() ([]doctor.Finding, error) {
	states, err := daemon.PolicyFiles()
	if err != nil {
		return nil, err
	}
	var out []doctor.Finding
	for _, s := range states {
		f := doctor.Finding{Check: "policy of " + s.Service, Saw: fmt.Sprintf("%s changes %d rules", s.File, s.Rules)}
		if len(s.Unknown) > 0 {
			f.Level, f.Saw = doctor.Note, f.Saw+"; nothing asks "+strings.Join(s.Unknown, ", ")
			f.Advice = "correct the names: `hanok policy list " + s.Service + "` shows them"
		}
		if s.Error != "" {
			f.Level, f.Saw = doctor.Problem, s.Error
			f.Advice = "correct the file: a cloud that runs keeps the rules before it, but one that starts refuses it"
		}
		out = append(out, f)
	}
	return out, nil
}
