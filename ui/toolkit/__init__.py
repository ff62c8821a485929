"""Page, controls, router, workspaces, report, images, frame, jobs, threads: what any page uses."""
