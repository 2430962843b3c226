-- Text that is NULL is neither in the list nor not in it.
SELECT device, TUMBLE_START(ts, INTERVAL '5' MINUTE) AS w_start, COUNT(*) AS n,
    COUNT(CASE WHEN load IN (-1, 2.5, 3, 4) THEN 1 END) AS some_loads,
    COUNT(CASE WHEN load NOT IN (-1, 2.5, 3, 4) THEN 1 END) AS other_loads
FROM readings
WHERE state NOT IN ('ok', 'warn')
GROUP BY device, TUMBLE(ts, INTERVAL '5' MINUTE)
