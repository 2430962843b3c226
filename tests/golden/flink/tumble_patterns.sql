SELECT device, TUMBLE_START(ts, INTERVAL '5' MINUTE) AS w_start, COUNT(*) AS n,
    COUNT(CASE WHEN state LIKE '%a_m' THEN 1 END) AS alarms, COUNT(CASE WHEN state LIKE '_ber' THEN 1 END) AS umlauts,
    COUNT(CASE WHEN state NOT LIKE '%r%' THEN 1 END) AS without_r, COUNT(CASE WHEN state LIKE '%' THEN 1 END) AS texts,
    MIN(state) AS first_state, MAX(state) AS last_state
FROM readings
WHERE device LIKE '%p' OR device LIKE '_o%r' OR device LIKE 'edge'
GROUP BY device, TUMBLE(ts, INTERVAL '5' MINUTE)
