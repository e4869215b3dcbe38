syncline_test(apply_topology SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_topology.c
    LIBRARIES syncline_test_support syncline_apply syncline_io syncline_rdb syncline_base)
