// Package agent realises on one node what a controller wants there: it watches the node's items, keeps
// the newest of each in a journal on disk, compares them with what is there (plan.go, pure), lets the
// drivers apply the difference and reports what it observed. Killing it at any instant loses nothing:
// the next start adopts what runs and goes on from there, with or without a controller.
//
// It knows nodeapi, fault and the drivers' interfaces (driver.go). It must not know QEMU, netlink or any
// kernel (its sub-packages do), nor how the controller stores things or what its HTTP API looks like.
package agent
