def test_the_table_of_the_scenarios_is_current(run_tool):
    run_tool("docs/scenarios", "--check")
